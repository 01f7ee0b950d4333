"""A grpc.aio method that takes a message and answers so many bytes: what gRPC costs before anything is done."""

from __future__ import annotations

import json
import sys

import grpc
import uvloop


async def serve(n_bytes: int) -> None:
    """Serve on a free port until ended, on uvloop as the service does."""
    answer = bytes(n_bytes)

    async def encode(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return answer

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
    handlers = {"Encode": grpc.unary_unary_rpc_method_handler(encode)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Service", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"port": port}), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
