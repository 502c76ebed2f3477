# On a fresh machine: `make run` for a server with a real model, `make test` for the whole suite.
# Everything lands in .venv and .mainspring; deleting both undoes it.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check bench setup docs

run: setup
	-@$(BIN)/mainspring local pull small embed
	@$(BIN)/mainspring serve

setup: .venv/.local

test: .venv/.dev
	-@$(BIN)/mainspring local pull small embed
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/.dev
	$(BIN)/ruff check && $(BIN)/ruff format --check
	$(BIN)/mypy && $(BIN)/lint-imports

bench: setup
	$(BIN)/python bench/run $(ARGS)

docs: .venv/.dev .venv/.docs
	$(BIN)/python -m tests.support.reference && $(BIN)/zensical build --clean

# `.venv/.NAME` says that the extra NAME is installed as pyproject.toml and constraints.txt have it now.
.venv/.%: pyproject.toml constraints.txt | $(BIN)/uv
	@echo "Installing '$*' into .venv. This happens once, and takes a minute."
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$*]' && touch $@

$(BIN)/uv:
	@$(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check uv
