# Every target sets up what it needs in .venv; PYTHON names another interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
# What is compiled once is kept, whatever the surroundings say; else each process compiles all of this project.
unexport PYTHONDONTWRITEBYTECODE
# Of the largest packages most is never imported; it is compiled when it is.
SELDOM := /tests?/|transformers/models/|diffusers/pipelines/|torch/testing/|ray/(rllib|serve)/|/pip/

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-train demo-edit cluster-demo test check lint types format test-long test-cluster test-servers test-slow benchmark clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 16

setup: $(STAMP)  ## a virtual environment in .venv with everything, versions pinned

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "editmill needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	# On all cores, where pip would compile one file after the other; some are for other versions of Python.
	$(BIN)/python -m compileall -q -j 0 -x '$(SELDOM)' .venv/lib >/dev/null 2>&1 || true
	touch $(STAMP)

demo: $(STAMP)  ## the main job on the embedded miniature: a table and a contact sheet; FROM=captions begins there
	$(BIN)/editmill demo $(if $(FROM),--from $(FROM))

demo-edit: $(STAMP)  ## pictures of a folder edited by the shipped editor, before and after on one sheet
	$(BIN)/editmill demo-edit

cluster-demo: $(STAMP)  ## a local cluster that scales to four nodes, a chain of verbs on it, and its end
	$(BIN)/python -m cluster.demo

demo-train: demo  ## goes on with the shipped editor on the demo's pairs, and a sheet of its edits
	RUN=$$(ls -dt demo/run-* | head -n 1) && OUT=demo/trained-$${RUN##*run-} && \
	$(BIN)/editmill fit --preset miniature-continued --dataset $$RUN --out $$OUT && \
	echo "The editor that this went on from: 18,000 steps of 32 on 7,962 pairs (docs/miniature.md)." && \
	echo "From nothing, in hours: python benchmarks/editors.py --work DIR. This one's edits:" && \
	ls -t $$OUT/sheets/*.png | head -n 1

test: $(STAMP)  ## the tests, two beside each other
	$(BIN)/pytest -n 2

check: lint types test  ## what CI runs first

lint: $(STAMP)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

format: $(STAMP)  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-long: $(STAMP)  ## runs that are killed everywhere, jobs on a cluster, the built wheel; WITHOUT=FOLDER
	$(BIN)/pytest -n 2 -m 'long and not slow' -o faulthandler_timeout=1200 $(addprefix --ignore=,$(WITHOUT))

test-cluster: $(STAMP)  ## of test-long the jobs on a cluster
	$(BIN)/pytest -m 'long and not slow' -o faulthandler_timeout=1200 tests/cluster

test-servers: $(STAMP)  ## the store's contract and chaos on real S3 servers (Ceph, Swift); a real Prometheus
	EDITMILL_REQUIRE_SERVERS=1 $(BIN)/pytest -m servers

test-slow: $(STAMP)  ## the full-size architectures and nodes that come and go: minutes, 10 GiB
	$(BIN)/pytest -m slow -o faulthandler_timeout=5400

benchmark: $(STAMP)  ## measure again what benchmarks/results/main.json says
	$(BIN)/python benchmarks/main.py

clean:  ## caches only, never data
	find . -name __pycache__ -prune -exec rm -r {} + ; rm -rf .mypy_cache .ruff_cache .pytest_cache
