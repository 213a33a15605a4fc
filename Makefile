# Every target works from Python 3.11+ and make alone: it creates .venv when missing, installs into it, then runs.
# Another interpreter: make test PYTHON=python3.13. More arguments: make test ARGS="-k cg", make bench ARGS="-b Solve".

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt
# Editable, so only a change of these two files calls for another install.
INPUTS := pyproject.toml constraints.txt

# Stamps: what the environment already holds. They lie in .venv and go with it.
MADE := $(VENV)/.made
DEMO := $(VENV)/.installed-demo
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
PEERS := $(VENV)/.installed-peers

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint docs bench bench-check gpu-check fixed-point-table newton-schulz-tables clean
.NOTPARALLEL:
# A stamp whose recipe failed must not pass for done.
.DELETE_ON_ERROR:

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

demo: $(DEMO)  ## solve a sparse system from a file, with a report and a plot
	$(BIN)/python examples/demo.py $(ARGS)

test: $(DEV)  ## run the tests, doctests included: some minutes
	$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

test-all: $(DEV)  ## run the slow tests and whole grids of parameters too: most of an hour
	$(BIN)/pytest -n 2 --dist worksteal --all $(ARGS)

# mypy sees the package through a link that bears its name, whatever the clone is called; then what a user's script sees.
lint: $(DEV)  ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/typing
	ln -sfn ../.. build/typing/resolvent
	cd build/typing && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml -p resolvent
	cd build/typing && MYPYPATH=. ../../$(BIN)/mypy --strict --follow-imports=silent \
		--config-file ../../pyproject.toml ../../tests/typing/user_script.py

docs: $(DEV)  ## build the documentation into build/docs, warnings are errors
	$(BIN)/sphinx-build -W --keep-going -b html docs build/docs

# Threads are pinned alike, so that libraries are compared on the same footing and runs with each other.
bench: export OMP_NUM_THREADS := 2
bench: export OPENBLAS_NUM_THREADS := 2
bench: export MKL_NUM_THREADS := 2
bench: export NUMBA_NUM_THREADS := 2
bench: $(BENCH)  ## run the benchmarks on the installed environment
	cd benchmarks && ../$(BIN)/asv machine --yes >/dev/null
	cd benchmarks && ../$(BIN)/asv run -E existing:$(CURDIR)/$(BIN)/python \
		--set-commit-hash $$(git rev-parse HEAD) --show-stderr $(ARGS)

# Enough to see that they run: what takes seconds, one call each.
bench-check: $(BENCH)  ## run the cheap benchmarks once each: some minutes
	mkdir -p build
	$(MAKE) bench ARGS="--quick --bench '^(importing|batches.Small|memory|solving.Whole|starting.Warm)'" \
		>build/bench-check.log 2>&1; status=$$?; cat build/bench-check.log; \
		exit $$(( status || $$(grep -c ' failed' build/bench-check.log) > 0 ))

# Installs nothing: on a machine with a device the environment is often given.
gpu-check: export PYTHON := $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
gpu-check:  ## the tests that need a GPU, then its figures: eight minutes, into benchmarks/results
	bash benchmarks/gpu_check.sh

fixed-point-table: $(PEERS)  ## evaluations of fixed-point methods on the gallery, beside published counts
	$(BIN)/python benchmarks/fixed_point_table.py $(ARGS)

newton-schulz-tables: $(DEMO)  ## errors of Newton-Schulz schedules, the tables and the figure of the documentation
	$(BIN)/python benchmarks/newton_schulz_tables.py $(ARGS)

clean:  ## remove what the other targets made, .venv included
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache docs/generated benchmarks/.asv
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(DEMO): $(MADE) $(INPUTS)
	@echo "Installing into $(VENV), once: a minute or so"
	$(PIP) -e '.[plot,amg]'
	@touch $@

# All that the demo needs is among what development needs.
$(DEV): $(MADE) $(INPUTS)
	@echo "Installing into $(VENV), once: some minutes, torch being large"
	$(PIP) -e '.[dev]'
	@touch $(DEMO) $@

# The other libraries that figures are compared with; they are large, and nothing else needs them.
$(BENCH): $(MADE) $(INPUTS)
	@echo "Installing into $(VENV), once: some minutes"
	$(PIP) -e '.[dev,bench]'
	@touch $(DEMO) $(DEV) $@

$(PEERS): $(MADE) $(INPUTS)
	@echo "Installing into $(VENV), once: some minutes"
	$(PIP) -e '.[dev,peers]'
	@touch $(DEMO) $(DEV) $@
