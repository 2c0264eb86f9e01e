# `make train` and `make test` work on a machine that has Python >= 3.11 and nothing else of what they need.
# Package sources are pip's own configuration: set PIP_INDEX_URL and its like to choose others.
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
HOMES := . $(patsubst %/pyproject.toml,./%,$(sort $(wildcard native/*/pyproject.toml plugins/*/pyproject.toml trainers/*/pyproject.toml)))
DISTRIBUTIONS := .[mcp,testing] $(filter-out .,$(HOMES))
SOURCES := src $(sort $(wildcard native/*/src plugins/*/src trainers/*/src))
# What tests share is typed as strictly; one by one, as several of them have the same name; those of vLLM
# run in an environment of their own, whose types are not at hand.
TEST_HELPERS = $(shell find tests */*/tests -name "*.py" ! -name "test_*" ! -name "__init__.py" ! -path "*/tests/real_vllm/*" | sort)
WORKERS ?= 2
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := $(CURDIR)/constraints.txt

export HF_HUB_OFFLINE := 1

.PHONY: install train science test test-e2e test-slow test-vllm attack lint format bench docs site dist wheels clean

install: $(INSTALLED)

# torch goes first, and pinned: left to a dependency's range, pip may take a larger build of a newer version.
$(INSTALLED): constraints.txt requirements-dev.txt pyproject.toml $(wildcard native/*/pyproject.toml native/*/setup.py native/*/src/*/*.c plugins/*/pyproject.toml trainers/*/pyproject.toml)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: none of python3.11, python3 is." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint $(CONSTRAINTS) torch
	$(PIP) install --quiet --requirement requirements-dev.txt
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --no-build-isolation $(foreach one,$(DISTRIBUTIONS),--editable '$(one)')
	$(PIP) check
	@touch $@

# `make train ARGS='--seed 1'` hands arguments on.
train: $(INSTALLED)
	$(BIN)/medvistagym train $(ARGS)

# Several seeds of a recipe, with the policies that a reviewer would ask for, into runs/science: more than an hour on two cores.
# An interrupted study goes on with the same command. `make science ARGS='--seeds 0 --curve none'` does less.
science: $(INSTALLED)
	$(BIN)/python -m medvistagym_trl.science run $(ARGS)

# Worker processes share the cores, so each gets one thread; the tests of a file share what they set up. What is compiled is
# kept, whatever the environment says of it: hundreds of processes import the same files.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
test: $(INSTALLED)
	$(PYTEST) -m "not slow and not e2e and not attack" $(ARGS)

# What goes from end to end and does not fit into ten minutes with the rest: browsers, servers, clusters, whole commands, trainings.
# `.ci/run` runs it, too. What takes more than ten seconds is left to test-slow.
test-e2e: $(INSTALLED)
	$(PYTEST) -m "e2e and not slow and not attack" $(ARGS)

# What takes more than ten seconds each: whole trainings, clusters of three nodes, every notebook.
test-slow: $(INSTALLED)
	$(PYTEST) -m "slow and not attack" $(ARGS)

# What hostile files, texts, tools and clients can do, with what each costs; on one core in a quarter of an hour.
# ATTACK_MUTATIONS is the number of DICOM files that are guided by coverage: 100,000 unless it says otherwise.
ATTACKS := tests/attacks tests/environment/questions/test_picture_process.py tests/protocol/test_special_tokens.py tests/protocol/test_cost.py tests/environment/grading/test_cost.py \
	tests/tools/test_result.py tests/rollouts/test_sample_faults.py plugins/medvistagym-dicom/tests/reading/test_bombs.py \
	plugins/medvistagym-dicom/tests/reading/test_fuzz.py plugins/medvistagym-mcp/tests/client/test_validation.py \
	plugins/medvistagym-mcp/tests/server/test_connections.py plugins/medvistagym-mcp/tests/server/test_stdio.py \
	plugins/medvistagym-mcp/tests/server/test_load.py tests/cli/test_terminal.py \
	plugins/medvistagym-mcp/tests/server/test_file_reader.py plugins/medvistagym-segment/tests/segmenters/test_monai_bundle.py
attack: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "attack or not attack" -rP $(ATTACKS) $(ARGS)

# vLLM on a CPU, in an environment of its own: colocated and as a server, with pictures in tool results.
VLLM_VENV ?= build/vllm-venv
VLLM_TESTS := trainers/medvistagym-trl/tests/real_vllm
$(VLLM_VENV)/.installed: constraints.txt $(VLLM_TESTS)/requirements.txt $(wildcard $(VLLM_TESTS)/engine/*)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: none of python3.11, python3 is." >&2; exit 1; }
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --constraint $(CONSTRAINTS) torch
	$(VLLM_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --requirement $(VLLM_TESTS)/requirements.txt
	$(VLLM_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation \
		$(VLLM_TESTS)/engine --editable . --editable trainers/medvistagym-trl
	@touch $@

# One process for a server, another for an engine that shares the trainer's; warnings are those of vLLM.
VLLM_PYTEST := OMP_NUM_THREADS=1 $(VLLM_VENV)/bin/python -m pytest -o filterwarnings=ignore -m "" --durations=5
test-vllm: $(VLLM_VENV)/.installed
	$(VLLM_PYTEST) $(VLLM_TESTS)/test_parsers.py $(VLLM_TESTS)/test_endpoint.py $(VLLM_TESTS)/test_server.py $(ARGS)
	$(VLLM_PYTEST) $(VLLM_TESTS)/test_colocate.py $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	for helper in $(TEST_HELPERS); do $(BIN)/mypy --no-error-summary $$helper || exit 1; done
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	@for bench in $(filter-out %/newcomer.py %/rows.py %/table.py,$(sort $(wildcard benchmarks/*.py))); do echo "$$bench"; $(BIN)/python $$bench || exit 1; done
	$(BIN)/python benchmarks/table.py

# What is generated: the published schemas, the index of plugins, the references of the command line and of recipes, the table of
# benchmarks, and the install commands of every page.
docs: $(INSTALLED)
	$(BIN)/python -m medvistagym_core.cli._published_schemas schemas/v1
	$(BIN)/python -m medvistagym_core.plugins._catalog registry
	$(BIN)/python -m medvistagym_core.cli._reference docs/cli.md
	$(BIN)/python -m medvistagym_trl._recipe._reference docs/recipes.md
	$(BIN)/python benchmarks/table.py
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/readme_pictures.py
	$(BIN)/python docs/install_sentences.py

# Every distribution as sdist and wheel, into dist/; each wheel is built from its sdist, so that both are whole. What builds them has an
# environment of its own, so that tools can be installed without torch.
# docs/install.md installs by name from there.
DIST_VENV ?= build/dist-venv
$(DIST_VENV)/.installed: constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: none of python3.11, python3 is." >&2; exit 1; }
	$(PYTHON) -m venv $(DIST_VENV)
	$(DIST_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt build hatchling setuptools
	@touch $@

dist: $(DIST_VENV)/.installed
	rm -rf dist && mkdir -p dist
	@for one in $(HOMES); do $(DIST_VENV)/bin/python -m build --no-isolation --outdir dist $$one >dist/build.log 2>&1 \
		|| { cat dist/build.log >&2; exit 1; }; done
	@rm dist/build.log && ls dist

# The documentation as a site in build/site; its tools have an environment of their own, and the build loads nothing from a network.
SITE_VENV ?= build/site-venv
$(SITE_VENV)/.installed: requirements-docs.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: none of python3.11, python3 is." >&2; exit 1; }
	$(PYTHON) -m venv $(SITE_VENV)
	$(SITE_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --requirement requirements-docs.txt
	@touch $@

# Wheels alone, four folders to a process: what pip needs to install any of them by name.
wheels: $(DIST_VENV)/.installed
	rm -rf dist && mkdir -p dist
	@printf '%s\n' $(HOMES) | xargs -n 4 -P 4 $(DIST_VENV)/bin/python -m pip --disable-pip-version-check wheel --quiet \
		--no-deps --no-build-isolation --wheel-dir dist
	@ls dist

site: $(SITE_VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist
