#!/usr/bin/env bash
# Builds the image (build_here.sh) and starts it with runc as Kubernetes would: tests/image.
#
#   deploy/image/check_here.sh FOLDER PYTHON [PYTEST_ARGS ...]
#
# PYTHON has what the tests need. Debian, as root: make buildah.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
python=$2
shift 2
cd "$here"
image=$(deploy/image/build_here.sh "$folder" image | tail -1)
buildah=(buildah --root "$folder/storage" --runroot "$folder/run" --storage-driver overlay)
container=$("${buildah[@]}" from "$image")
trap '"${buildah[@]}" rm "$container" >/dev/null' EXIT
"${buildah[@]}" inspect --type image "$image" >"$folder/image.json"
IMAGE_ROOT=$("${buildah[@]}" mount "$container") IMAGE_CONFIG=$folder/image.json \
    "$python" -m pytest --quiet tests/image "$@"
