"""A FastAPI endpoint that reads a body and answers so many bytes: what REST costs before anything is done.

The settings of its server are those of `service.doors`.
"""

from __future__ import annotations

import json
import socket
import sys

import uvicorn
from fastapi import FastAPI, Request, Response


def build_app(n_bytes: int) -> FastAPI:
    """The application; every answer has `n_bytes`."""
    app, answer = FastAPI(), bytes(n_bytes)

    @app.post("/encode")
    async def encode(request: Request) -> Response:
        await request.body()
        return Response(answer, media_type="application/octet-stream")

    return app


def main() -> None:
    """Serve on a free port until ended."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(
        build_app(int(sys.argv[1])),
        loop="uvloop",
        http="httptools",
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
    )
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
