# Every target does all set-up on a fresh machine, and nothing twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXPORT_QUIET := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1

# Fast and parity tests spend their time compiling. LLVM without optimisation and XLA's older code
# generator, in one module, take a third of it. The full tests compile as users do, but for
# processes of which many are started: they find these flags in their environment.
export QUICK_COMPILATION := --xla_backend_optimization_level=0 \
	--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1

.PHONY: help demo test test-parity test-full lint format clean

help:
	@echo "make demo       run the tiny model on held-out synthetic pictures and show the results"
	@echo "make test       fast tests (minutes on 2 cores)"
	@echo "make test-parity  comparisons with the PyTorch originals"
	@echo "make test-full  full-size comparisons, kills, trainings and measurements"
	@echo "make lint       ruff (lint and format) and the type checker"
	@echo "make format     let ruff mend what it can"
	@echo "make clean      remove .venv, builds and tool caches; runs/ and results/ stay"

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/pyvenv.cfg pyproject.toml
	$(EXPORT_QUIET) $(BIN)/python -m pip install -e .
	@touch $@

$(VENV)/.test: $(VENV)/.core
	$(EXPORT_QUIET) $(BIN)/python -m pip install -e ".[test]"
	@touch $@

$(VENV)/.lint: $(VENV)/.core
	$(EXPORT_QUIET) $(BIN)/python -m pip install -e ".[lint]"
	@touch $@

demo: $(VENV)/.core
	$(BIN)/python evaluate.py --overwrite --limit 60 --output-dir results/demo

# A file's tests share programs: one worker takes them all.
test: $(VENV)/.test
	XLA_FLAGS="$(QUICK_COMPILATION) $$XLA_FLAGS" $(BIN)/python -m pytest \
		-n auto --dist loadfile --ignore tests/parity --durations=10

test-parity: $(VENV)/.test
	XLA_FLAGS="$(QUICK_COMPILATION) $$XLA_FLAGS" $(BIN)/python -m pytest \
		-n auto --dist loadfile tests/parity --durations=10

# Two workers: each may hold a full-size network and its PyTorch original.
test-full: $(VENV)/.test
	$(BIN)/python -m pytest -m full -n 2 --dist loadfile --durations=10

lint: $(VENV)/.lint $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis
