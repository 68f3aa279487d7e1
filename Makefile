# Every target sets up what it needs in .venv; PYTHON names another interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-train test check lint types format test-servers test-slow benchmark clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 16

setup: $(STAMP)  ## a virtual environment in .venv with everything, versions pinned

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "editmill needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)  ## the main job on the embedded miniature: a table and a contact sheet
	$(BIN)/editmill demo

# From nothing an editor takes hours: the shipped one, made so, is trained on for a minute.
demo-train: demo  ## the shipped editor, trained on with the demo's pairs, and a sheet of its edits
	RUN=$$(ls -dt demo/run-* | head -n 1) && OUT=demo/trained-$${RUN##*run-} && \
	$(BIN)/editmill fit --preset miniature-editor --set law.model.source=miniature/editor \
	  --set law.steps=30 --set law.batch=16 --set law.learning_rate=0.00003 --set law.warm_up=10 \
	  --set watching.report_every=5 --set watching.sheet_every=30 --set watching.oracle_edits=20 \
	  --dataset $$RUN --out $$OUT && \
	echo "The editor that this went on from: 18,000 steps of 32 on 7,962 pairs (docs/miniature.md)." && \
	echo "From nothing, in hours: python benchmarks/editors.py --work DIR. This one's edits:" && \
	ls -t $$OUT/sheets/*.png | head -n 1

test: $(STAMP)  ## the tests
	$(BIN)/pytest

check: lint types test  ## what CI runs

lint: $(STAMP)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

format: $(STAMP)  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-servers: $(STAMP)  ## the store's contract and chaos on real S3 servers (Ceph, Swift)
	EDITMILL_REQUIRE_SERVERS=1 $(BIN)/pytest -m servers

test-slow: $(STAMP)  ## the full-size architectures and nodes that come and go: minutes, 10 GiB
	$(BIN)/pytest -m slow

benchmark: $(STAMP)  ## measure again what benchmarks/results/main.json says
	$(BIN)/python benchmarks/main.py

clean:  ## caches only, never data
	find . -name __pycache__ -prune -exec rm -r {} + ; rm -rf .mypy_cache .ruff_cache .pytest_cache
