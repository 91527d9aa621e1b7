# Two commands do everything: `make book` and `make test`. Both install what they need into .venv
# on their first run, and are quick on their second.

VENV   ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
EXTRAS := book,train,mlx,teacher,dev

# Parameters of the book: make book DATASET=spider SPIDER_DIR=/path/to/spider
DATASET    ?= pocket
SPIDER_DIR ?=
BIRD_DIR   ?=
# Another student: make book SIZE=pocket-m
SIZE       ?=
BOOK_ARGS  := --dataset $(DATASET) $(if $(SIZE),-p size $(SIZE)) \
	$(if $(SPIDER_DIR),--spider-dir $(SPIDER_DIR)) $(if $(BIRD_DIR),--bird-dir $(BIRD_DIR))

INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help book test check check-site lock clean

help: ## say what there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(INSTALLED): pyproject.toml requirements.lock
	@echo "Installing into $(VENV): a few minutes, this once."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than Python 3.11; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint requirements.lock --editable '.[$(EXTRAS)]'
	@touch $@

book: $(INSTALLED) ## execute the chapters whose inputs changed, then build _build/html
	@$(VENV)/bin/distill-sql book build $(BOOK_ARGS)

test: $(INSTALLED) ## run the tests
	@$(VENV)/bin/python -m pytest -m 'not site'

check: $(INSTALLED) ## format, lint, types
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

check-site: book ## look at the built pages with headless Chromium
	@$(VENV)/bin/python -m pytest -m site tests/site

lock: ## resolve every dependency anew and write requirements.lock
	@$(PYTHON) -m venv --clear $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@{ sed -n '/^#/p' requirements.lock; \
		$(VENV)-lock/bin/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//'; } > $(VENV)-lock/lock
	@mv $(VENV)-lock/lock requirements.lock
	@rm -rf $(VENV)-lock

clean: ## delete what was built; the environment stays
	@rm -rf _build book/chapters book/.work
