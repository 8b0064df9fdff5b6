# `make demo` and `make test` do all their set-up on a fresh machine with Python 3.11 or 3.12 and a C++ compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out

.PHONY: demo test test-fast test-data test-cloud test-flink test-models test-gpu cuda install install-dev lint bench check-tools clean docs

demo: install
	$(BIN)/python launcher.py --runner=DirectRunner --output $(OUT)

test: install-dev
	$(BIN)/python -m pytest

# What to run while editing, in under a minute: no test that is marked slow, no whole job, no real videos.
FAST_TESTS := tests/core tests/storage tests/native tests/media tests/models tests/transforms tests/scripts
test-fast: install-dev
	SPATIALBEAM_TEST_DATA=none $(BIN)/python -m pytest -m "not (slow or cloud or flink or gpu or models)" $(FAST_TESTS)

# Real videos and sequences from their public sources, into test_data/ or $$SPATIALBEAM_TEST_DATA.
test-data: install-dev
	$(BIN)/python -m scripts.fetch_test_data

# The tests on object stores and a warehouse: their packages, and emulators on this machine.
test-cloud: $(VENV)/.installed-cloud
	$(BIN)/python -m pytest -m cloud

# The tests on a real Flink cluster on this machine: about 240 MB of Flink from PyPI, the job server from Maven Central
# (or the environment variable FLINK_JOB_SERVER_JAR), Java.
test-flink: install-dev
	$(BIN)/python -m scripts.flink_local fetch
	$(BIN)/python -m pytest -m flink

# The tests that need the models extra: torch and its GPU libraries, about 5 GB more in the environment.
test-models: $(VENV)/.installed-models
	$(BIN)/python -m pytest -m models

# The same on a GPU, with our kernels: needs nvcc, of the CUDA toolkit or `pip install nvidia-cuda-nvcc`.
test-gpu: $(VENV)/.installed-models cuda
	$(BIN)/python -m pytest -m gpu -rs

# Optional: without them the tracker and the depth optimization run on PyTorch alone, slower.
cuda:
	-$(BIN)/python -m native.cuda.build

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/clang-format --dry-run --Werror native/csrc/*.?pp native/cuda/*.cu*
	$(BIN)/python -m docs.generate --check

bench: install-dev
	$(BIN)/python -m benchmarks.analysis_pass
	$(BIN)/python -m benchmarks.shots
	$(BIN)/python -m benchmarks.whole_job
	$(BIN)/python -m benchmarks.scaling --videos 16 --seconds 30 --repeats 2
	$(BIN)/python -m benchmarks.long_video
	$(BIN)/python -m benchmarks.damaged_time
	$(BIN)/python -m benchmarks.annotation
	$(BIN)/python -m benchmarks.report_page
	$(BIN)/python -m benchmarks.accuracy --estimators classical
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.bundle_adjustment

docs: install-dev
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.draw_design

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: requirements/default.lock pyproject.toml setup.py $(wildcard native/csrc/*) | check-tools
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/default.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/dev.lock
	touch $@

$(VENV)/.installed-cloud: $(VENV)/.installed-dev requirements/cloud.lock requirements/bigquery-emulator.lock
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/cloud.lock
	# BigQuery's emulator needs another DuckDB, hence an environment of its own.
	test -d $(VENV)/bigquery-emulator || $(PYTHON) -m venv $(VENV)/bigquery-emulator
	$(VENV)/bigquery-emulator/bin/pip install --quiet --no-deps --requirement requirements/bigquery-emulator.lock
	$(VENV)/bigquery-emulator/bin/python -c 'from duckdb_extensions import import_extension; import_extension("spatial")'
	touch $@

$(VENV)/.installed-models: $(VENV)/.installed-dev requirements/models.lock
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements/models.lock
	touch $@

check-tools:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo "error: $(PYTHON) is not Python 3.11 or 3.12. Install one, or name it: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: $(PYTHON) lacks venv. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { \
	  echo "error: no C++ compiler. On Debian or Ubuntu: apt-get install g++; on macOS: xcode-select --install" >&2; exit 1; }

clean:
	rm -rf $(VENV) build *.egg-info native/*.so
