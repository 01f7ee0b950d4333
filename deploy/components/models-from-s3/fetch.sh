#!/bin/sh
# Fetches every model of LIST from a bucket where it lies by its digest, and lets none in place that has another.
#   fetch.sh LIST MODELS     with MODELS_URI=s3://BUCKET/PREFIX
set -eu
list=$1 models=$2

# The list without its remarks; written to a file, so that a failure within the loop is one of the script.
sed -e '/^#/d' -e '/^[[:space:]]*$/d' "$list" > "$models/.wanted"
while read -r digest path || [ -n "$digest" ]; do
    case $path in
        /* | *..* | '') echo "a path leads out of the models: $path" >&2; exit 1 ;;
    esac
    if [ "${#digest}" -ne 64 ]; then
        echo "no sha256 before $path" >&2
        exit 1
    fi
    mkdir -p "$models/$(dirname "$path")"
    aws s3 cp --only-show-errors "$MODELS_URI/$digest" "$models/.fetched"
    printf '%s  %s\n' "$digest" "$models/.fetched" | sha256sum -c - >/dev/null 2>&1 \
        || { echo "not the file that was asked for: $path" >&2; exit 1; }
    mv "$models/.fetched" "$models/$path"
    echo "fetched $path"
done < "$models/.wanted"
rm "$models/.wanted"
