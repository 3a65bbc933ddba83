# Two commands for users: `make run` and `make test`. Both set everything up on first use and are quick afterwards.
PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test lint unit ui e2e screenshots clean

help:
	@echo "make run    set up and open the app on http://localhost:$(PORT) (PORT=… changes it)"
	@echo "make test   set up and run all tests (lint, types, unit, app, browser)"
	@echo "make screenshots   photograph every page into docs/images (a few minutes)"
	@echo "make clean  remove the environment"

# The stamp is newer than the requirements it was made from, so an unchanged set-up costs nothing.
$(VENV)/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Backdoor Lens needs Python 3.11 or newer; set PYTHON=/path/to/python3."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/test.stamp: requirements.txt requirements-dev.txt $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
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

clean:
	rm -rf $(VENV)
