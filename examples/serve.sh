#!/bin/sh
# Serves the example model, says how to call it once it is ready, and stays until it is stopped (Ctrl-C).
# TOTALVI_HOST, TOTALVI_HTTP_PORT, TOTALVI_GRPC_PORT and TOTALVI_ADMIN_PORT say where.
set -eu
bin=${BIN:-.venv/bin}
host=${TOTALVI_HOST:-127.0.0.1}
case $host in
0.0.0.0) host=127.0.0.1 ;;
::) host='[::1]' ;;
*:*) host="[$host]" ;;
esac
callers=http://$host:${TOTALVI_HTTP_PORT:-8000}
operators=http://$host:${TOTALVI_ADMIN_PORT:-8002}

say_how() {
    cat <<EOF

The example model is served.
  a browser  $callers/
  REST       $callers/v1/models   (described at $callers/docs)
  gRPC       $host:${TOTALVI_GRPC_PORT:-8001}
  operators  $operators/readyz, $operators/metrics

Encode five cells:

  curl -s $callers/v1/models/pbmc/encode -H 'Content-Type: application/json' -d @examples/request.json

EOF
}

# Any server may hold the operators' port: that it is ready says nothing of the example.
is_served() {
    "$bin/totalvi-serve" healthcheck && "$bin/python" -c '
import sys, urllib.request
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=2)
' "$callers/v1/models/pbmc"
} >/dev/null 2>&1

if is_served; then
    say_how
    echo "It was running already; this call started nothing."
    exit 0
fi

"$bin/totalvi-serve" run --models examples/models --drain-delay-s 0 "$@" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null || true' INT TERM HUP
until is_served; do
    kill -0 "$server" 2>/dev/null || { wait "$server"; exit; }
    sleep 0.2
done
say_how
# A signal interrupts the first wait; the second one gives the server's own exit code.
wait "$server" || wait "$server"
