# totalvi-serve as an image: docs/deploy.md tells how it is built, started and checked.
#
#   docker build -t totalvi-serve:0.1.0 --build-arg TORCH_INDEX=ADDRESS .    # on the CPU
#   docker build -t totalvi-serve:0.1.0-cuda --build-arg VARIANT=cuda .
#
# ADDRESS is PyTorch's own index of CPU builds, as its page "Get started" shows it for pip, Linux and CPU; without it pip takes the
# build that the usual index has, which is CUDA's and gigabytes larger.
#
# For a release name the base by its digest, which a tag is not; it stands in the registry's listing of the tag:
#   --build-arg PYTHON_IMAGE=python:3.11.13-slim-bookworm@sha256:<64 hex digits>
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS requirements
# Extras of pyproject.toml to install, separated by spaces.
ARG EXTRAS=""
COPY pyproject.toml deploy/image/requirements.py /
RUN python3 /requirements.py /pyproject.toml ${EXTRAS} > /requirements.txt


FROM ${PYTHON_IMAGE} AS tool
# Further arguments of pip, such as those that name a mirror.
ARG PIP_ARGS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# What installs stays out of what is installed: the image has no pip.
RUN python3 -m venv /tool && /tool/bin/pip install ${PIP_ARGS} 'setuptools==84.2.1' \
    && python3 -m venv --without-pip /opt/totalvi


FROM tool AS dependencies
# cpu or cuda. The CUDA build of torch brings its libraries along as packages; of the host it needs the driver alone.
ARG VARIANT=cpu
ARG TORCH_INDEX=""
ARG PIP_ARGS=""
COPY constraints.txt /
# torch by itself and without what it depends on: only the build is chosen here, the next step takes the rest.
RUN case "${VARIANT}" in \
        cpu|cuda) ;; \
        *) echo "VARIANT is cpu or cuda, not '${VARIANT}'" >&2; exit 2 ;; \
    esac \
    && /tool/bin/pip --python /opt/totalvi/bin/python install --no-deps \
        ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} ${PIP_ARGS} \
        "$(grep '^torch==' /constraints.txt)" \
    # Its own tests and C++ headers, 145 MB that nothing here asks for.
    && rm -r /opt/totalvi/lib/python3*/site-packages/torch/test /opt/totalvi/lib/python3*/site-packages/torch/include
COPY --from=requirements /requirements.txt /
RUN /tool/bin/pip --python /opt/totalvi/bin/python install ${PIP_ARGS} \
        --constraint /constraints.txt --requirement /requirements.txt \
    && /tool/bin/pip --python /opt/totalvi/bin/python check


FROM dependencies AS code
COPY LICENSE README.md pyproject.toml /source/
COPY model /source/model
COPY service /source/service
# Into a folder of its own, which is then the image's last and only small layer.
RUN /tool/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel /source \
    && /tool/bin/pip --python /opt/totalvi/bin/python install --no-deps --no-index --prefix /code /wheel/*.whl


# What the image holds of Python, as CycloneDX: `make sbom`, or docker build --target sbom --output build .
FROM dependencies AS listing
ARG PIP_ARGS=""
COPY --from=code /code/ /opt/totalvi/
RUN /tool/bin/pip install ${PIP_ARGS} 'cyclonedx-bom==7.5.0' \
    && /tool/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
        --output-file /totalvi-serve.cdx.json /opt/totalvi/bin/python

FROM scratch AS sbom
COPY --from=listing /totalvi-serve.cdx.json /


FROM ${PYTHON_IMAGE} AS image
ARG VARIANT=cpu
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="totalvi-serve" \
      org.opencontainers.image.description="Serves the encoder of a trained totalVI model over REST and gRPC" \
      org.opencontainers.image.licenses="BSD-3-Clause" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      totalvi-serve.variant="${VARIANT}"
COPY --from=dependencies /opt/totalvi /opt/totalvi
COPY --from=code /code/ /opt/totalvi/
# Nothing is written at run time: no bytecode, and what a library may want to keep at home goes to /tmp, which may be a tmpfs.
# The driver's libraries are what the NVIDIA runtime puts into a container; without it these two say nothing.
ENV PATH=/opt/totalvi/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    TOTALVI_HOST=0.0.0.0 \
    TOTALVI_MODELS=/models
WORKDIR /models
# Callers' REST and gRPC, and the operators' port.
EXPOSE 8000 8001 8002
# By number, so that Kubernetes can see that it is not root; any other number works as well.
USER 10001:10001
STOPSIGNAL SIGTERM
# Kubernetes has probes of its own and heeds none of this.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 CMD ["totalvi-serve", "healthcheck"]
# No shell and no init in between: the server is process 1, hears SIGTERM, and has no children to wait for.
ENTRYPOINT ["totalvi-serve"]
CMD ["run"]
