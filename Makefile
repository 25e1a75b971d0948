# Every target sets itself up: a .venv with the pinned constraints, torch first (its CPU wheel under an exact pin).
PYTHON ?= python3
BIN := .venv/bin
PIP := .venv/.pip
SETUP := .venv/.installed
PEERS := .venv/.peers
KSERVE := .venv/kserve/.installed
# A process that spoke to a Ray with tokens cannot speak to one without: the simulated nodes have one of their own.
NODES := tests/cluster/test_train_nodes.py

.PHONY: quickstart setup test lint bench soak train-all compress-all gpu clean

quickstart: $(SETUP)  ## the main job: one real model from data to a served answer
	$(BIN)/raymaas quickstart $(ARGS)

setup: $(SETUP) $(KSERVE)  ## all that test and lint need

test: setup  ## unit and contract tests, then everything that needs a Ray cluster
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile tests/unit tests/contracts tests/gpu $(ARGS)
	$(BIN)/pytest -m "(cluster or journey) and not soak" tests/cluster tests/journeys $(ARGS)

lint: $(SETUP)  ## ruff, mypy --strict, and the layer contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(PEERS)  ## figures, as ratios measured in one run
	PYTHONPATH=tests:tests/unit $(BIN)/python -m tests.bench $(ARGS)

soak: $(SETUP)  ## the registry and trainings under kill -9, lost replies and random histories, for an hour
	$(BIN)/python tests/soak.py $(ARGS)
	$(BIN)/pytest -m soak $(NODES)
	$(BIN)/pytest -m soak --ignore $(NODES)

train-all: $(SETUP)  ## train the job files on a running cluster; what they reached goes into jobs/README.md
	$(BIN)/python jobs/train_all.py $(ARGS)

compress-all: $(SETUP)  ## compress the job files on a running cluster; SEEDS=5 for the published table
	$(BIN)/python jobs/compress_all.py $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

gpu: $(SETUP)  ## the checks and benchmarks that need a GPU; without one it says so
	PYTHONPATH=tests:tests/unit $(BIN)/python -m tests.bench.gpu $(ARGS)

$(PIP): constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^pip==' constraints.txt)" || true  # needs half the time of the one that Python 3.11 brings
	touch $@

$(SETUP): $(PIP) pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --no-compile "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable ".[server,dev]"
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # pip does it on one core; some files are no modules
	touch $@

# A client of the inference protocol that is not ours and does not fit beside what we run on.
$(KSERVE): $(PIP) tests/kserve-constraints.txt
	test -x .venv/kserve/bin/python || $(BIN)/python -m venv --without-pip .venv/kserve
	$(BIN)/pip --python .venv/kserve/bin/python install --quiet --no-compile --constraint tests/kserve-constraints.txt kserve
	touch $@

$(PEERS): $(SETUP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[server,dev,bench]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
