# One command for each job; every target sets up what it needs in .venv, from Python 3.10 or later and a package index.
#   make demo          generate images and play the demo world with the shipped weights, without ComfyUI, into out/demo
#   make test          all tests; those that need a ComfyUI or a Chromium run where there is one (README: Tests)
#   make check         formatting, lint, types and licences, then the tests
#   make test-hosts    the tests in a ComfyUI, once in each of HOSTS="FOLDER ...": the present and the oldest one
#   make audit         look every dependency up among known vulnerabilities; fails where that cannot be done
#   make docs          the library's reference and the pages as a site in out/docs, with every link checked
#   make bench         one table of measurements beside peers, into out/bench (docs/benchmarks.md)
#   make bench-gpu     the same on a graphics card: five packages, no index, eight minutes, into out/bench-gpu
#   make soak          the long runs: 50,000 mutated files, memory that must not grow, hundreds of graphs in a server
#   make archive       what the registry would get, node.zip: the same bytes for the same commit
#   make demo-weights  train the demo weights again
#   make thumbnails    rewrite workflows/api and the thumbnails from the workflows, through the page
#   make clean         remove what the tools left, but not .venv
# ARGS="..." is passed on; VENV=... and PYTHON=... choose another environment and another Python.

VENV ?= .venv
PY := $(VENV)/bin/python
ARGS ?=
HOSTS ?= $(HOME)/comfy/ComfyUI $(HOME)/comfy/ComfyUI-0.11.1

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: help demo test test-hosts check lint types licences audit archive docs bench bench-gpu soak demo-weights thumbnails setup setup-test clean
.DELETE_ON_ERROR:

demo: $(VENV)/.ready-demo
	$(PY) -m wan_lite.demo $(ARGS)

test: $(VENV)/.ready-test
	$(VENV)/bin/pytest $(ARGS)

test-hosts: $(VENV)/.ready-test
	@for host in $(HOSTS); do \
		echo "== $$host"; COMFYUI_PATH="$$host" $(VENV)/bin/pytest tests/host $(ARGS) || exit 1; \
	done

check: lint types licences test

lint: $(VENV)/.ready-test
	$(PY) -m ruff format --check
	$(PY) -m ruff check

types: $(VENV)/.ready-test
	@mkdir -p $(VENV)/types && ln -sfn "$(CURDIR)" $(VENV)/types/wan_lite
	$(PY) -m mypy $(ARGS)

licences: $(VENV)/.ready-test
	$(PY) scripts/licences.py

audit: $(VENV)/.ready-test
	$(PY) scripts/audit.py

archive: $(VENV)/.ready-test
	scripts/set_times.sh
	TZ=UTC $(VENV)/bin/comfy --skip-prompt node pack

docs: $(VENV)/.ready-docs
	$(PY) scripts/docs.py $(ARGS)

bench: $(VENV)/.ready-test
	$(PY) -m wan_lite.benchmarks $(ARGS)

# Any Python that has torch, safetensors, einops, numpy and pillow will do; nothing is installed.
bench-gpu:
	@folder=$$(mktemp -d) && ln -s "$(CURDIR)" "$$folder/wan_lite" && \
		PYTHONPATH="$$folder" $(or $(PYTHON),python3) -m wan_lite.benchmarks.gpu $(ARGS); \
		status=$$?; rm -r "$$folder"; exit $$status

soak: $(VENV)/.ready-test
	$(VENV)/bin/pytest -m soak $(ARGS)

demo-weights: $(VENV)/.ready-test
	$(PY) -m wan_lite.demo.train $(ARGS)

thumbnails: $(VENV)/.ready-test
	$(PY) scripts/workflows.py $(ARGS)

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.ready-demo
setup-test: $(VENV)/.ready-test

# An environment that is there is used as it is: pip leaves alone what already meets the requirements.
$(VENV)/.ready-demo: pyproject.toml constraints.txt | $(PY)
	$(PY) -m pip install --quiet --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-test: pyproject.toml constraints.txt | $(PY)
	$(PY) -m pip install --quiet --no-build-isolation --editable ".[test]"
	@touch $@ $(VENV)/.ready-demo $(VENV)/.ready-docs

$(VENV)/.ready-docs: pyproject.toml constraints.txt | $(PY)
	$(PY) -m pip install --quiet --no-build-isolation --editable ".[docs]"
	@touch $@ $(VENV)/.ready-demo

$(PY):
	@python=$$(scripts/find_python.sh) && echo "creating $(VENV) with $$python" && "$$python" -m venv $(VENV)
	$(PY) -m pip install --quiet "setuptools>=77"

clean:
	rm -rf build dist out *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
