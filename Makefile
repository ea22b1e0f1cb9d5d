# make quickstart   from nothing to inverted and edited faces, in runs/quickstart/
# make test         ruff, mypy and all tests
# make test-fast    the tests that neither train nor render
# make test-notebooks
#                   the notebooks on the versions of Google Colab's runtime; needs
#                   Python 3.13
# make test-colab   the same, and then the tests that neither train nor render
# make soak         hours of mutated weight files, kills, signals and flipped bits;
#                   the tests hold a sample
# make bench        times and memory beside the last committed ones, minutes each:
#                   make bench CASES="invert encoder_step_256" measures those alone
# make site         the documentation as a site, in site/
#
# Each first makes the environment in .venv, from Python 3.11 or newer:
#   make test PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
COLAB := .venv-colab/bin/python
# The first that is a Python 3.13: on the path, or among pyenv's.
PYTHON313 ?= $(shell \
  for python in python3.13 "$$(pyenv root 2>/dev/null)"/versions/3.13.*/bin/python; do \
    "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' \
      2>/dev/null && echo "$$python" && break; \
  done)

# Large pages of memory on Linux; see styleprompter_jax/large_pages.py.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

# A worker that crashes fails its test. A new worker for it would hang pytest-xdist 3.8.
PARALLEL = -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0

.PHONY: quickstart test test-fast test-notebooks test-colab python3.13 soak bench site
.DELETE_ON_ERROR:

quickstart: $(READY)
	$(RUN) -m styleprompter_jax.demo

test: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m pytest $(PARALLEL)

test-fast: $(READY)
	$(RUN) -m pytest $(PARALLEL) -m "not slow"

test-notebooks: .venv-colab/.ready
	$(COLAB) tests/on_colab.py

# The notebooks install what the project needs; the other tests come after them.
test-colab: test-notebooks
	$(COLAB) -m pip install -q --disable-pip-version-check -c tests/colab.txt \
	  -e '.[avatars,detector,hub,download,studio]' pytest-xdist httpx2
	$(COLAB) -m pytest $(PARALLEL) -m "not slow"

# Which Python test-colab would take; nothing where there is none.
python3.13:
	@echo $(PYTHON313)

soak: $(READY)
	$(RUN) tests/soak_files.py
	$(RUN) tests/soak_damage.py
	$(RUN) tests/soak_training.py
	$(RUN) tests/soak_buckets.py

site: $(READY)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

bench: $(READY)
	$(RUN) -m benchmarks $(CASES)

# Installed again when what it depends on changes. An environment that was
# interrupted before it had pip is completed.
$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "This needs Python 3.11 or newer, which '$(PYTHON)' is not: name one," \
	  "as in make PYTHON=python3.12" >&2; exit 1; }
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check -e '.[avatars,dev]'
	@touch $@

.venv-colab/.ready: tests/colab.txt
	@[ -n "$(PYTHON313)" ] || { echo "This needs Python 3.13, which is not here: name" \
	  "one, as in make test-colab PYTHON313=/usr/bin/python3.13" >&2; exit 1; }
	$(PYTHON313) -m venv --clear .venv-colab
	$(COLAB) -m pip install -q --disable-pip-version-check --no-deps -r $<
	@touch $@
