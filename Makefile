# The two main commands are `make book` and `make test`. The first run of either installs everything
# into .venv; later runs are quick.

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
.PHONY: help book test check check-site figures measure lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(INSTALLED): pyproject.toml requirements.lock
	@echo "Installing into $(VENV). This takes a few minutes, once."
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

check: $(INSTALLED) ## check format, lint (chapters, too) and types
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@status=0; for chapter in notebooks/*.md; do \
		$(VENV)/bin/jupytext --quiet --to ipynb --output - $$chapter \
			| $(VENV)/bin/ruff check --quiet --stdin-filename $${chapter%.md}.ipynb - || status=1; \
	done; exit $$status
	@$(VENV)/bin/mypy

check-site: book ## test the built pages with headless Chromium
	@$(VENV)/bin/python -m pytest -m site tests/site

figures: $(INSTALLED) ## build the book from scratch, record its figures, write README's table
	@$(MAKE) --no-print-directory clean book
	@$(VENV)/bin/distill-sql book figures --record
	@$(VENV)/bin/python -m distill_sql.runs.measured README.md

# Measure times on an idle machine only. `precision` trains on the traces of `make book`.
D := $(DISTILL_SQL_DATA)
BENCHMARK := OMP_NUM_THREADS=1 $(VENV)/bin/python -m distill_sql.runs.students_benchmark
QWEN := --config $(D)/qwen2.5-configs/Qwen2.5-0.5B-Instruct.config.json --tokenizer $(D)/qwen2.5-tokenizer
LADDER := distill_sql/pocket/checkpoints/pocket-l
measure: $(INSTALLED) ## record the benchmarks (real data in DISTILL_SQL_DATA), write README's table
	@test -d '$(D)/spider' || { echo 'error: set DISTILL_SQL_DATA to a folder with spider/'; exit 1; }
	@test -f book/.work/traces/pocket.jsonl || { echo 'error: run make book first'; exit 1; }
	$(VENV)/bin/python -m distill_sql.runs.scoring_benchmark --path $(D)/spider --record \
		$(D)/published_predictions/distilled_primary.jsonl \
		$(D)/published_predictions/gpt_4o_mini_reference.jsonl
	$(VENV)/bin/python -m tests.teacher.soak $(D)/spider --record
	$(VENV)/bin/python -m tests.teacher.soak $(D)/spider --filter --record
	$(VENV)/bin/python -m tests.teacher.hostile_soak --record
	$(BENCHMARK) generate $(QWEN) --path $(D)/spider --max-tokens 16 --record
	$(BENCHMARK) train $(QWEN) --path $(D)/spider --questions 2 --batch 2 --record
	$(BENCHMARK) train --config $(LADDER)/config.json --tokenizer $(LADDER) --dataset pocket \
		--recipe pocket-l --questions 100 --record
	$(BENCHMARK) precision --recipe pocket-l --dataset pocket \
		--traces book/.work/traces/pocket.jsonl --record
	@$(VENV)/bin/python -m distill_sql.runs.measured README.md

lock: ## resolve all dependencies again and write requirements.lock
	@$(PYTHON) -m venv --clear $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@{ sed -n '/^#/p' requirements.lock; \
		$(VENV)-lock/bin/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//'; } > $(VENV)-lock/lock
	@mv $(VENV)-lock/lock requirements.lock
	@rm -rf $(VENV)-lock

clean: ## delete everything that was built, but not the environment
	@rm -rf _build book/chapters book/.work
