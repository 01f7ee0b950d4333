# Everything a newcomer needs is `make serve` and `make test`; `make help` lists the rest.
VENV    ?= .venv
BASE    ?= $(firstword $(shell command -v python3.11 python3))
PYTHON  := $(VENV)/bin/python
STAMP   := $(VENV)/installed
DEV     := $(VENV)/installed-dev
PARITY  := $(VENV)-parity/installed
SAVES   := ../shared/data/checkpoints
IMAGES  := build/image
NODE    := page/node_modules/installed
# Node and npm come with the environment: no Node of the system is needed, or taken.
WITH_NODE := PATH="$(abspath $(VENV))/bin:$$PATH"
NPM     := cd page && $(WITH_NODE) npm --loglevel error
BUILT   := service/rest/page_files page/src/service/stub

.DEFAULT_GOAL := help
.PHONY: help serve test fuzz chaos nginx haproxy prometheus chromium kubectl buildah image image-check sbom lint types imports \
	proto openapi page page-stub page-check generated metrics parity bench bench-encoder bench-gpu bench-page screenshots overload \
	soak million capacity bench-tracing example clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

$(PYTHON):
	@$(BASE) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python 3.11 or later is needed" >&2; exit 1; }
	$(BASE) -m venv $(VENV)

# torch is asked for by itself and first: a pinned request takes the build that is at hand, a range would not.
$(STAMP): $(PYTHON) pyproject.toml constraints.txt
	$(PYTHON) -m pip install --quiet $$(grep '^torch==' constraints.txt)
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(DEV): $(STAMP) client/pyproject.toml constraints-parity.txt
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --constraint constraints-parity.txt \
		--editable '.[dev]' --editable './client[all]'
	@touch $@

serve: $(STAMP) ## install, serve the example model, print a curl line that works
	@BIN=$(VENV)/bin sh examples/serve.sh

test: $(DEV) ## install and run the tests
	$(PYTHON) -m pytest --quiet --cov --cov-report=term $(PYTEST_ARGS)

fuzz: $(DEV) ## more than 50,000 damaged requests, messages and model files (minutes)
	FUZZ_SHARE=1 $(PYTHON) -m pytest --quiet tests/fuzz $(PYTEST_ARGS)

chaos: $(DEV) ## three rolling restarts of three replicas behind nginx (CHAOS_ARGS="--proxy haproxy"), 20,000 calls (minutes)
	$(PYTHON) -m benchmarks.chaos $(CHAOS_ARGS)

# RUNLEVEL: Debian would start it as a service, on port 80.
nginx: ## install nginx where it is missing (Debian, as root), for the tests behind a real proxy
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx \
		|| { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends nginx >/dev/null; }

prometheus: ## install Prometheus and its promtool where they are missing (Debian, as root), for the tests of what it reads
	@command -v promtool >/dev/null && command -v prometheus >/dev/null \
		|| { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends prometheus >/dev/null; }

haproxy: ## install HAProxy likewise
	@command -v haproxy >/dev/null || test -x /usr/sbin/haproxy \
		|| { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends haproxy >/dev/null; }

chromium: ## install Chromium and a font where they are missing (Debian, as root), for the tests of the page
	@command -v chromium >/dev/null \
		|| { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }

$(VENV)/bin/kubectl: $(PYTHON) tests/deploy/kubectl.txt
	$(PYTHON) tests/deploy/fetch_kubectl.py $@

kubectl: $(VENV)/bin/kubectl ## install kubectl into the environment, for the tests of deploy/

buildah: ## install what builds and runs the image here (Debian, as root)
	@for tool in buildah debootstrap runc; do command -v $$tool >/dev/null || test -x /usr/sbin/$$tool \
		|| { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $$tool >/dev/null; }; done

image: buildah ## build the image without a Docker engine (minutes; Debian, as root); docs/deploy.md
	deploy/image/build_here.sh $(IMAGES)

image-check: buildah $(DEV) ## build it, start it as Kubernetes would, and call it (minutes; Debian, as root)
	deploy/image/check_here.sh $(IMAGES) $(PYTHON) $(PYTEST_ARGS)

sbom: buildah ## write what the image holds of Python to build/totalvi-serve.cdx.json (CycloneDX)
	deploy/image/build_here.sh $(IMAGES) sbom build

overload: $(DEV) ## three times the load that the service can carry, for a minute; docs/reliability.md
	$(PYTHON) -m benchmarks.overload $(BENCH_ARGS)

soak: $(DEV) ## ten minutes of every kind of caller, and what is left of them; docs/reliability.md
	$(PYTHON) -m benchmarks.soak $(BENCH_ARGS)

capacity: $(DEV) ## the capacity model beside a running server (minutes); docs/capacity.md
	$(PYTHON) -m benchmarks.capacity.measured $(BENCH_ARGS)

bench-tracing: $(DEV) ## what tracing costs a call; docs/tracing.md
	$(PYTHON) -m benchmarks.tracing $(BENCH_ARGS)

million: $(DEV) ## a million cells from a file by the client: cost, memory, and a run that is killed half-way; docs/performance.md
	$(PYTHON) -m benchmarks.million $(BENCH_ARGS)

lint: $(DEV) ## ruff: style, docstrings, formatting
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(DEV) ## mypy, strict; the client also for the oldest Python that it runs on
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --python-version 3.10 client/totalvi_client

imports: $(DEV) ## who may import whom
	$(VENV)/bin/lint-imports --no-cache

proto: $(DEV) ## generate the gRPC stubs
	PYTHON=$(PYTHON) sh proto/generate.sh

openapi: $(DEV) ## write docs/openapi.json
	$(PYTHON) docs/write_openapi.py

metrics: $(DEV) ## write the table of docs/metrics.md
	$(PYTHON) -m docs.write_metrics

$(NODE): $(DEV) page/package.json page/package-lock.json page/.npmrc
	$(NPM) ci
	@touch $@

page: $(NODE) ## build the page from page/ into service/rest/page_files
	$(NPM) run build

page-stub: $(NODE) ## generate the page's stub of the gRPC messages
	$(WITH_NODE) PYTHON="$(abspath $(PYTHON))" sh page/stubs.sh

page-check: $(NODE) ## biome, tsc and vitest
	$(NPM) run lint
	$(NPM) run types
	$(NPM) test

# A file of the page that git does not know is as stale as one that differs: its names hold digests.
generated: proto openapi page-stub page ## fail if a generated file is not up to date
	git diff --exit-code -- service/protobuf/stubs client/totalvi_client/stubs docs/openapi.json $(BUILT)
	@new="$$(git status --porcelain -- $(BUILT))"; test -z "$$new" || { echo "git does not know: $$new" >&2; exit 1; }

$(PARITY): pyproject.toml constraints.txt constraints-parity.txt
	$(BASE) -m venv $(VENV)-parity
	$(VENV)-parity/bin/python -m pip install --quiet $$(grep '^torch==' constraints.txt)
	$(VENV)-parity/bin/python -m pip install --quiet --constraint constraints.txt --constraint constraints-parity.txt \
		pytest pytest-asyncio pytest-timeout hypothesis --editable '.[parity]'
	@touch $@

parity: $(PARITY) ## compare with scvi-tools itself (installs it into an environment of its own)
	$(VENV)-parity/bin/python -m pytest --quiet tests/parity

bench: $(DEV) ## measure the service against scvi-tools, by-hand and bare servers (minutes); docs/performance.md
	@$(MAKE) --no-print-directory $(PARITY) || echo "scvi-tools cannot be installed here: its rows are left out" >&2
	$(PYTHON) -m benchmarks --scvi-python $(VENV)-parity/bin/python $(BENCH_ARGS)

bench-encoder: $(DEV) ## measure the encoder alone (seconds)
	$(PYTHON) -m benchmarks.encoder $(BENCH_ARGS)

bench-gpu: $(DEV) ## measure the encoder on a GPU, where there is one
	$(PYTHON) -m benchmarks.gpu $(BENCH_ARGS)

bench-page: $(DEV) chromium ## 100,000 cells from an h5ad on the page (minutes); docs/page.md
	$(PYTHON) -m benchmarks.page $(BENCH_ARGS)

screenshots: $(DEV) chromium ## the pictures of docs/page.md
	$(PYTHON) -m benchmarks.page.screenshots $(BENCH_ARGS)

example: $(STAMP) ## export the example model again (needs the save it came from)
	rm -rf examples/models/pbmc
	$(VENV)/bin/totalvi-serve export $(SAVES)/pbmc --name pbmc --version 1 --into examples/models

clean: ## remove what the other targets made
	rm -rf $(VENV) $(VENV)-parity page/node_modules .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
