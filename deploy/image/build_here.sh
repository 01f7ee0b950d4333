#!/usr/bin/env bash
# Builds the image without a Docker engine, a registry or root's network: buildah in a chroot, on Debian's own Python.
#
#   deploy/image/build_here.sh FOLDER [TARGET [INTO]]
#
# FOLDER keeps what a second run need not make again: the base (debootstrap), the wheels (pip, by this machine's own
# configuration) and buildah's layers. TARGET is a stage of the Dockerfile: image, or sbom, whose file is written to the folder INTO.
# Prints the image's id. Debian, as root: make buildah.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
target=${2:-image}
suite=bookworm
base=localhost/python-of-debian:$suite
cd "$here"

# Everything under FOLDER: nothing of this may meet the images that the machine has for other purposes.
store=(--root "$folder/storage" --runroot "$folder/run" --storage-driver overlay)
buildah=(buildah "${store[@]}")
export BUILDAH_ISOLATION=chroot

if ! "${buildah[@]}" inspect --type image "$base" >/dev/null 2>&1; then
    root=$(mktemp -d "$folder/base.XXXX")
    trap 'rm -rf "$root"' EXIT
    debootstrap --variant=minbase "$suite" "$root" >"$folder/debootstrap.log"
    chroot "$root" sh -ec 'apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates
        apt-get clean; rm -rf /var/lib/apt/lists/*' >>"$folder/debootstrap.log" 2>&1
    container=$("${buildah[@]}" from scratch)
    "${buildah[@]}" add --quiet "$container" "$root" / >/dev/null
    "${buildah[@]}" commit --quiet --rm "$container" "$base" >/dev/null
fi

# The wheels are fetched out here, so that neither the build nor the image knows how this machine reaches a package index.
wheels=$folder/wheels
mkdir -p "$wheels"
python3 deploy/image/requirements.py pyproject.toml >"$folder/requirements.txt"
fetch=("$(command -v python3.11)" -m pip download --quiet --quiet --dest "$wheels")
"${fetch[@]}" --no-deps "$(grep '^torch==' constraints.txt)"
"${fetch[@]}" --find-links "$wheels" --constraint constraints.txt --requirement "$folder/requirements.txt"
"${fetch[@]}" 'setuptools==84.2.1' 'cyclonedx-bom==7.5.0'

image=$("${buildah[@]}" build --quiet --layers --format docker --target "$target" \
    --build-arg PYTHON_IMAGE="$base" \
    --build-arg PIP_ARGS="--no-index --find-links /wheels" \
    --build-arg REVISION="$(git rev-parse HEAD)$(git diff --quiet HEAD || echo +changes)" \
    --build-arg CREATED="$(git log -1 --format=%cI)" \
    --volume "$wheels:/wheels:ro" \
    --tag "localhost/totalvi-serve:$target" . | tail -1)
if [ -n "${3:-}" ]; then
    container=$("${buildah[@]}" from "$image")
    mkdir -p "$3"
    cp "$("${buildah[@]}" mount "$container")"/*.json "$3/"
    "${buildah[@]}" rm "$container" >/dev/null
fi
echo "$image"
