# Every verb sets up what it needs: on a fresh machine `make train` or `make test` is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CXX_SOURCES = $(shell find examples kerasptb tests -name '*.c' -o -name '*.cc' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help setup build train test lint format docs bench fuzz gpu-check wasm wheel clean

# A virtual environment knows its own path, in its scripts and in the editable install: in a folder that was moved or
# copied, or where its Python has gone, it is made anew.
PLACE := $(shell $(BIN)/python -c "" 2>/dev/null && cat $(VENV)/.installed 2>/dev/null)
ifneq ($(PLACE),$(CURDIR))
.PHONY: $(VENV)/.installed
endif

help:
	@echo "make setup      install into $(VENV) and compile the native library"
	@echo "make train      train a language model; options in ARGS=\"--epochs 5 --data ptb\""
	@echo "make test       run the tests; real Penn Treebank ones too if KERASPTB_DATA names its folder;"
	@echo "                with SLOW=1 also those that only continuous integration needs to run each time"
	@echo "make lint       check style and types"
	@echo "make docs       build the site of docs/ and of the docstrings, into site/"
	@echo "make bench      measure against other implementations (installs PyTorch)"
	@echo "make fuzz       look for harmful input, for minutes: tests/fuzz/README.md"
	@echo "make gpu-check  check the CUDA kernels on this GPU, and time them: docs/gpu.md, also what it needs"
	@echo "make wasm       compile the runtime of exported pages, which is in the repository"
	@echo "make wheel      build wheels with the native library inside, and a source distribution, into dist/"
	@echo "make clean      remove $(VENV) and caches"

setup: build
	@echo "Ready: $(BIN)/kerasptb --help. Commands and options at the tab key: docs/training.md#at-the-tab-key"

# Of several at once, each waits for the one before it, and finds done what that has done.
LOCKED := $(if $(shell command -v flock),flock .venv.lock) sh -ec

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 14) else f"kerasptb needs Python 3.11 to 3.14, and $(PYTHON) is {v[0]}.{v[1]}: name another with make PYTHON=...")'
	@$(LOCKED) ' \
	  if [ "$$(cat $@ 2>/dev/null)" != "$$(pwd -P)" ] || ! $(BIN)/python -c "" 2>/dev/null; then rm -rf $(VENV); fi; \
	  if [ $@ -nt pyproject.toml ] && [ $@ -nt constraints.txt ]; then exit; fi; \
	  $(PYTHON) -m venv $(VENV); \
	  echo "Installing into $(VENV): TensorFlow is large, this takes a minute or more"; \
	  $(PIP) --editable ".[serve,texts]"; \
	  pwd -P > $@'

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(LOCKED) '$(PIP) --editable ".[dev]"; touch $@'

# Cached by a hash of the sources, so it costs nothing when there is nothing to do. Where there is no compiler, the one
# that comes as a package takes its place: words are searched in the library alone.
build: $(VENV)/.installed
	@[ -n "$$CXX" ] || { command -v g++ || command -v clang++ || command -v c++; } >/dev/null || $(LOCKED) '$(PIP) ziglang'
	@$(BIN)/kerasptb build >/dev/null || echo "Going on without the native library: training is slower, and no words are found."

train: build
	$(BIN)/kerasptb train $(ARGS)

# In two processes, which take tests over from each other; -n 0 in ARGS runs them in one.
test: $(VENV)/.installed-dev build
	$(BIN)/python -m pytest -n 2 --dist worksteal $(if $(SLOW),,-m "not slow") $(ARGS)
	@$(if $(SLOW),,echo "The slow tests were left out: make test SLOW=1 runs them too.")

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/clang-format --dry-run -Werror $(CXX_SOURCES)

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@$(BIN)/clang-format -i $(CXX_SOURCES)

$(VENV)/.installed-docs: $(VENV)/.installed
	@$(LOCKED) '$(PIP) --editable ".[docs]"; touch $@'

docs: $(VENV)/.installed-docs
	$(BIN)/python docs/build_site.py
	@echo "Open site/index.html"

# After a change of kerasptb/native/src/core or kerasptb/export/page: the same sources make the same bytes, which a test compares.
wasm: $(VENV)/.installed-dev
	$(BIN)/python kerasptb/export/page/wasm.py

# Wheels for both processors, then the source distribution. The library inside is removed again, so that the checkout goes
# on with what it compiles itself.
MACHINES ?= x86_64 aarch64

wheel: $(VENV)/.installed
	@$(PIP) auditwheel build ziglang
	failed=0; for machine in $(MACHINES); do rm -rf build && $(BIN)/python -m kerasptb.native.prebuild $$machine && \
	  $(BIN)/python -m build --wheel "--config-setting=--build-option=--plat-name=manylinux_2_28_$$machine" || failed=1; done; \
	  rm -rf kerasptb/native/prebuilt build; exit $$failed
	$(BIN)/python -m build --sdist
	@for wheel in dist/*-py3-none-manylinux_2_28_*.whl; do \
	  $(BIN)/auditwheel show $$wheel | tr '\n' ' ' | grep -o '[^ ]*.whl is consistent[^"]*"[^"]*"' || exit 1; done

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	@$(LOCKED) '$(PIP) --editable ".[bench]"; touch $@'

bench: $(VENV)/.installed-bench build
	$(BIN)/python -m benchmarks.training $(ARGS)

# For a minute a target, or FUZZ_SECONDS; see tests/fuzz/README.md.
FUZZ_SECONDS ?= 60

fuzz: $(VENV)/.installed-dev build
	@$(LOCKED) '$(PIP) "atheris>=3.0"'
	for target in vocabulary tokenizer text archive run checkpoint token; do \
	  $(BIN)/python tests/fuzz/files.py $$target -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=1 || exit 1; done
	$(BIN)/python tests/fuzz/kernels.py $(FUZZ_SECONDS)
	$(BIN)/python tests/fuzz/handlers.py $(FUZZ_SECONDS)
	$(BIN)/python tests/fuzz/graphs.py $(FUZZ_SECONDS)
	KERASPTB_FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest -q tests/serving/test_schema.py

gpu-check: $(VENV)/.installed
	$(BIN)/python -m benchmarks.gpu_check $(ARGS)

clean:
	rm -rf $(VENV) .venv.lock build dist site .cache *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
