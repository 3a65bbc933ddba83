# Two commands for users: `make run` and `make test`. Both set everything up on first use and are quick afterwards.
PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-tools

.DEFAULT_GOAL := help
.PHONY: help run test lint unit ui e2e screenshots lock audit fuzz fuzz-guided clean

help:
	@echo "make run    set up and open the app on http://localhost:$(PORT) (PORT=… changes it)"
	@echo "make test   set up and run all tests (lint, types, unit, app, browser)"
	@echo "make screenshots   photograph every page into docs/images (a few minutes)"
	@echo "make fuzz   thousands of hostile files and links (about half an hour)"
	@echo "make fuzz-guided   bytes chosen by coverage (needs atheris; half an hour or more)"
	@echo "make lock   pin all packages with hashes again, after a change of requirements"
	@echo "make audit  ask for known weaknesses of the pinned packages (needs the network)"
	@echo "make clean  remove the environment"

# Packages are checked against the hashes in the lock file where the lock file was tried. Which of both it is depends on
# the platform alone: a package with a wrong hash ends the set-up, it is never installed another way.
LOCKED := import platform, sys; \
	sys.exit((sys.platform, platform.machine()) != ("linux", "x86_64") or not (3, 11) <= sys.version_info[:2] <= (3, 12))
define install
if $(BIN)/python -c '$(LOCKED)'; then \
	echo "Installing $(1).lock: every package is checked against its hash."; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1).lock; \
else \
	echo "Installing $(1).txt without hashes: $(1).lock was tried with Python 3.11 and 3.12 on Linux x86_64 only."; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(1).txt; \
fi
endef

# The stamp is newer than the requirements it was made from, so an unchanged set-up costs nothing.
$(VENV)/run.stamp: requirements.txt requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Backdoor Lens needs Python 3.11 or newer; set PYTHON=/path/to/python3."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(call install,requirements)
	@touch $@

$(VENV)/test.stamp: requirements.txt requirements-dev.txt requirements-dev.lock $(VENV)/run.stamp
	@$(call install,requirements-dev)
	@touch $@

run: $(VENV)/run.stamp
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname)" = Darwin ]; then \
		(sleep 4; $(BIN)/python -m webbrowser -t "http://localhost:$(PORT)" >/dev/null 2>&1) & \
	fi
	$(BIN)/python -m ui.serve --server.address localhost --server.port $(PORT)

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes; each file's tests stay together, because they share what was trained for them.
test: lint
	$(BIN)/python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder

unit ui e2e: $(VENV)/test.stamp
	$(BIN)/python -m pytest tests/$@

# The browser test photographs every page; these are the pictures in the README and docs.
screenshots: $(VENV)/test.stamp
	BACKDOOR_LENS_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/e2e

# Slow: 12,000 cases; the result is written to benchmarks/results/fuzz.json.
fuzz: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks.fuzz --cases 12000

# Slow, and needs atheris, which is not among the requirements: it says how to get it.
fuzz-guided: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks.fuzz_guided

$(TOOLS)/stamp: requirements-tools.lock
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-tools.lock
	@touch $@

lock: $(TOOLS)/stamp
	@for part in requirements requirements-dev requirements-tools; do \
		$(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
			$$part.txt --output-file $$part.lock || exit 1; \
	done

# Exit status 1: weaknesses were found. Where the service cannot be asked, that is said, and the status is 0.
audit: $(TOOLS)/stamp
	@$(TOOLS)/bin/python scripts/audit.py $(TOOLS)/bin/pip-audit requirements-dev.lock

clean:
	rm -rf $(VENV) $(TOOLS)
