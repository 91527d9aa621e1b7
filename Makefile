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
.PHONY: help book test check check-site figures measure lock clean

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

figures: $(INSTALLED) ## build the book from nothing, record its figures, write README's table
	@$(MAKE) --no-print-directory clean book
	@$(VENV)/bin/distill-sql book figures --record
	@$(VENV)/bin/python -m distill_sql.runs.measured README.md

# Times are of value on an idle machine only. `precision` trains on the traces of `make book`.
D := $(DISTILL_SQL_DATA)
BENCHMARK := OMP_NUM_THREADS=1 $(VENV)/bin/python -m distill_sql.runs.students_benchmark
QWEN := --config $(D)/qwen2.5-configs/Qwen2.5-0.5B-Instruct.config.json --tokenizer $(D)/qwen2.5-tokenizer
LADDER := distill_sql/pocket/checkpoints/pocket-l
measure: $(INSTALLED) ## record the benchmarks' figures (DISTILL_SQL_DATA: real data), write README's table
	@test -d '$(D)/spider' || { echo 'error: set DISTILL_SQL_DATA to a folder with spider/'; exit 1; }
	@test -f book/.work/traces/pocket.jsonl || { echo 'error: make book first'; exit 1; }
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

lock: ## resolve every dependency anew and write requirements.lock
	@$(PYTHON) -m venv --clear $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@{ sed -n '/^#/p' requirements.lock; \
		$(VENV)-lock/bin/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//'; } > $(VENV)-lock/lock
	@mv $(VENV)-lock/lock requirements.lock
	@rm -rf $(VENV)-lock

clean: ## delete what was built; the environment stays
	@rm -rf _build book/chapters book/.work
