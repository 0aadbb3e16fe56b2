# One command each; every target does its own set-up in .venv and needs only Python >= 3.10 and a package index.
#   make demo          sample with the shipped small weights, no ComfyUI: images and a rollout in out/demo
#   make test          all tests; those that need a ComfyUI or a Chromium run where one is found (README: Tests)
#   make check         formatting, lint, types, then the tests
#   make docs          the reference and the pages as a site in out/docs, its links checked
#   make bench         side-by-side measurements against peers
#   make soak          the long runs: memory that must not grow, hundreds of graphs through one server
#   make demo-weights  train the demo weights again
#   make thumbnails    rewrite workflows/api and the thumbnails from the workflows, through the page

VENV ?= .venv
PY := $(VENV)/bin/python
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: demo test check lint types docs bench soak demo-weights thumbnails setup setup-test clean
.DELETE_ON_ERROR:

demo: $(VENV)/.ready-demo
	$(PY) -m wan_lite.demo $(ARGS)

test: $(VENV)/.ready-test
	$(VENV)/bin/pytest $(ARGS)

check: lint types test

lint: $(VENV)/.ready-test
	$(PY) -m ruff format --check
	$(PY) -m ruff check

types: $(VENV)/.ready-test
	@mkdir -p $(VENV)/types && ln -sfn "$(CURDIR)" $(VENV)/types/wan_lite
	$(PY) -m mypy $(ARGS)

docs: $(VENV)/.ready-docs
	$(PY) scripts/docs.py $(ARGS)

bench: $(VENV)/.ready-test
	@for script in $(filter-out timing,$(basename $(notdir $(wildcard benchmarks/[a-z]*.py)))); do \
		echo "== wan_lite.benchmarks.$$script"; $(PY) -m wan_lite.benchmarks.$$script $(ARGS) || exit 1; \
	done

soak: $(VENV)/.ready-test
	$(VENV)/bin/pytest -m soak $(ARGS)

demo-weights: $(VENV)/.ready-test
	$(PY) -m wan_lite.demo.train $(ARGS)

thumbnails: $(VENV)/.ready-test
	$(PY) scripts/workflows.py $(ARGS)

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
