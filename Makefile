# make demo   the main job on drawn images, from nothing
# make test   all tests
# make lint   format and lint;  make types   type hints;  make check   all three
# make oracle our replacements of tensorflow-addons against the package itself, which needs Python 3.11
# make servers  real servers and their clients with the export, in an environment of their own
# make wheel  the wheel alone in an environment of its own, doing the whole job
# make docs   docs/options.md, from the code
# make setup  the environment alone;  make torch  PyTorch as well, which more tests then compare with

# The first interpreter that TensorFlow has wheels for.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Python compiles what is imported when it is; all files of TensorFlow and PyTorch take it half a minute and more.
INSTALL := pip install --quiet --disable-pip-version-check --no-compile

# tensorflow-addons ended before Python 3.12.
PYTHON311 ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$p && break; done)
ORACLE ?= .venv-tfa/oracle

.PHONY: setup torch demo test oracle servers wheel lint types format check benchmarks docs clean

setup: .venv/installed

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=…" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt pyproject.toml | .venv/bin/python
	$(BIN)/python -m $(INSTALL) -r requirements.txt --editable .
	@touch $@

.venv/installed-dev: requirements-dev.txt requirements-hub.txt requirements-onnx.txt requirements-export.txt \
		requirements-parquet.txt requirements-track.txt .venv/installed
	$(BIN)/python -m $(INSTALL) -r requirements-dev.txt
	@touch $@

.venv/installed-torch: requirements-torch.txt .venv/installed-dev
	$(BIN)/python -m $(INSTALL) -r requirements-torch.txt
	@touch $@

# Tests that hold the networks to PyTorch's run where it is installed.
torch: .venv/installed-torch

demo: .venv/installed
	$(BIN)/resnet-tf demo

# Three processes on two cores: much of a test is one thread of Python that builds a network, or that waits for another
# process. The files keep their order, since the longest tests stand in the first ones; at the end they would leave one
# process without work.
test: .venv/installed-dev
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

.venv-tfa/installed: requirements-tfa.txt
	@test -n "$(PYTHON311)" || { echo "error: tensorflow-addons needs Python 3.11; name one with PYTHON311=…" >&2; exit 2; }
	$(PYTHON311) -m venv .venv-tfa
	.venv-tfa/bin/python -m $(INSTALL) -r requirements-tfa.txt
	@touch $@

# Written last of all references.
$(ORACLE)/logits.npz: .venv-tfa/installed tests/oracle/reference.py tests/oracle/cases.py
	.venv-tfa/bin/python tests/oracle/reference.py $(ORACLE)

oracle: .venv/installed-dev $(ORACLE)/logits.npz
	RESNET_TF_ORACLE=$(abspath $(ORACLE)) $(BIN)/python -m pytest tests/oracle

# Servers beside what .venv has: pip sees the packages there through the .pth file, and adds what they lack.
.venv-servers/installed: requirements-servers.txt .venv/installed-dev
	$(BIN)/python -m venv --clear --without-pip .venv-servers
	$(BIN)/python -c "import site, sysconfig; print(f'import site; site.addsitedir({sysconfig.get_path(\"purelib\")!r})')" \
		> $$(echo .venv-servers/lib/python3*/site-packages)/project.pth
	$(BIN)/python -m pip --python .venv-servers/bin/python install --quiet --disable-pip-version-check --no-compile \
		-r requirements-servers.txt
	@touch $@

servers: .venv-servers/installed
	.venv-servers/bin/python -m pytest tests/servers

# An environment with nothing but the wheel and what it asks for. The check uninstalls the wheel at its end.
wheel: .venv/installed
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	test -x .venv-wheel/bin/python || $(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m $(INSTALL) dist/*.whl
	folder=$$(mktemp -d) && cd "$$folder" && TF_CPP_MIN_LOG_LEVEL=3 $(abspath .venv-wheel)/bin/python \
		$(abspath tests/wheel/check.py) $(CURDIR)/dist/*.whl && rm -rf "$$folder"

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/installed-dev
	$(BIN)/mypy

check: lint types test

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmarks: .venv/installed-dev
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/input_stream.py

docs: .venv/installed
	$(BIN)/python -m pipelines.config.options_page > docs/options.md

clean:
	rm -rf .venv .venv-tfa .venv-servers .venv-wheel build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
