#!/bin/sh
# Writes src/service/stub from proto/totalvi_v1.proto: PYTHON has grpcio-tools, which brings protoc.
set -eu
cd "$(dirname "$0")"
${PYTHON:-python3} -m grpc_tools.protoc --proto_path=../proto --plugin=node_modules/.bin/protoc-gen-es \
    --es_out=src/service/stub --es_opt=target=ts ../proto/totalvi_v1.proto
