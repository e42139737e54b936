# Two commands set everything up on a fresh machine: `make fit` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Many container images set it: each process would compile all libraries anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup setup-lowest fit smoke bench test test-real test-slow test-kernels check docs notebooks format lock build clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## make .venv and install the locked requirements into it

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $@

setup-lowest:  ## make .venv with the lowest versions that pyproject.toml allows
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --resolution lowest-direct -e '.[adapt,dev,dicom,onnx,report,segmentation,sheets,sweep]'
	touch $(STAMP)

fit: setup  ## train ECAMP on the synthetic chest world and evaluate its encoder
	$(BIN)/vlpzoo fit --model ecamp

smoke: setup  ## the same in seconds: a few steps, no evaluation
	$(BIN)/vlpzoo fit --model ecamp --trainer.max_steps 4 --data.train_studies 64 --data.val_studies 32 --evaluate [] --out runs/smoke

bench: setup  ## train all methods on synthetic chests and write the leaderboard
	$(BIN)/python benchmarks/leaderboard/run.py

# A file's tests stay in one process, so that what they share is made once.
test: setup  ## fast test suite and doctests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-real: setup  ## train and evaluate on the small real sets, minutes
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m real tests

test-slow: setup  ## all tests that take minutes
	$(BIN)/python -m pytest -q -m "slow or real" tests

KERNELS ?= Haswell/default Zen/avx2 SkylakeX/avx512
test-kernels: setup  ## tests that compare numbers, under other kernels of BLAS and torch
	$(BIN)/python tests/kernels.py $(KERNELS)

check: setup  ## lint, formatting, types, import contracts, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

docs: setup  ## the site into build/site, its links checked; no network is asked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -f docs/site/mkdocs.yml

notebooks: setup  ## run the notebooks of docs/notebooks
	$(BIN)/python -m pytest -q -m slow tests/test_notebooks.py

format: setup  ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## resolve the dependencies anew into requirements.lock
	test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	$(BIN)/uv pip compile pyproject.toml --extra adapt --extra completion --extra dev --extra dicom --extra docs --extra onnx --extra report --extra segmentation --extra sheets --extra sweep --extra weights --universal --python-version 3.11 --no-header --quiet -o requirements.lock

build: setup  ## wheel and sdist into dist/
	$(BIN)/python -m build --outdir dist .

clean:  ## remove runs, caches and builds; .venv stays
	rm -rf runs dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
