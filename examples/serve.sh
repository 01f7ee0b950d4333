#!/bin/sh
# Serves the example model, says how to call it once it is ready, and stays until it is stopped (Ctrl-C).
set -eu
bin=${BIN:-.venv/bin}

say_how() {
    cat <<'EOF'

The example model is served.
  REST       http://127.0.0.1:8000/v1/models   (try it in a browser: http://127.0.0.1:8000/docs)
  gRPC       127.0.0.1:8001
  operators  http://127.0.0.1:8002/readyz, http://127.0.0.1:8002/metrics

Encode five cells:

  curl -s http://127.0.0.1:8000/v1/models/pbmc/encode -H 'Content-Type: application/json' -d @examples/request.json

EOF
}

if "$bin/totalvi-serve" healthcheck >/dev/null 2>&1; then
    say_how
    echo "It was running already; this call started nothing."
    exit 0
fi

"$bin/totalvi-serve" run --models examples/models --drain-delay-s 0 "$@" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null || true' INT TERM HUP
until "$bin/totalvi-serve" healthcheck >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || { wait "$server"; exit; }
    sleep 0.2
done
say_how
# A signal interrupts the first wait; the second one gives the server's own exit code.
wait "$server" || wait "$server"
