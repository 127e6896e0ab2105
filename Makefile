# `make demo` and `make test` are the two commands; each sets up what it needs. `make PYTHON=python3.12 …` picks the interpreter.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
  command -v $$p >/dev/null && $$p -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# uv, by pip from its line of the lock, installs the rest five times faster; what only pip is configured for, pip installs
UV := $(PIP) --require-hashes --no-deps -r <(sed -n '/^uv==/,/\# via/p' requirements-dev.txt) && \
  VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.txt -r requirements-dev.txt
TESTS ?=
# of the verbs that name a dataset: `make run-batch DATASET=…`; ARGS are handed on to the command
DATASET ?= landcover
ARGS ?=

.PHONY: help setup forecast demo test why bench profile faults screenshots viewers guards check down clean cql lock \
  install up status logs generate-historical run-producer run-streaming run-batch test-scalability

help: ## these lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 28

setup: $(STAMP) ## Python packages into .venv, jars into the cache, Spark's defaults; safe to run again
	@$(BIN)/braid setup

demo: forecast setup ## real data from CSV to dashboard; leaves the stack running
	@$(BIN)/braid demo

# measured sizes: packages 650 MB to fetch and 1.7 GB on disk with their bytecode and the archive of classes, jars 200 MB; BRAID_HOME grows to about 2 GB
forecast:
	@fetch=0; disk=2; minutes=2; \
	[ -e $(STAMP) ] || { fetch=650; disk=4; minutes=4; }; \
	[ -d "$${BRAID_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/braid}/jars" ] || { fetch=$$((fetch + 200)); minutes=$$((minutes + 2)); }; \
	echo "make demo: fetches about $$fetch MB, takes $$disk GB of disk and 3 GB of memory, and about $$minutes minutes" >&2

test: setup ## every test: unit, model, Spark, the real stack, the browser
	@$(BIN)/braid doctor --tests
	$(if $(TESTS),$(BIN)/python -m pytest $(TESTS),$(BIN)/python -m pytest -n 2 --dist loadgroup tests/spark src tests/unit tests/model)
	$(if $(TESTS),,$(BIN)/python -m pytest tests/services tests/browser)

why: setup ## the common build beside Braid, with a kill -9, a replay and late events; SEED=7 is the load's
	$(BIN)/python -m bench.why --seed $(or $(SEED),7)

bench: setup ## every speed beside its anchor, sized for an hour: ONLY=freshness,batch for some, QUICK=1 to try it; into bench/results/
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(ARGS)

profile: setup ## where the time of a micro-batch and of an answer goes; into bench/results/
	$(BIN)/python -m bench --only profile $(if $(QUICK),--quick)

faults: setup ## random faults on a stack of its own, every answer checked; SEED=… repeats a run, MINUTES=45, RATE=300, ROWS=F4,F7
	@$(BIN)/braid doctor --tests
	$(BIN)/python -m tests.services.faults --minutes $(or $(MINUTES),45) --rate $(or $(RATE),300) $(if $(SEED),--seed $(SEED)) $(if $(ROWS),--rows "$(ROWS)")

screenshots: $(STAMP) ## the dashboard's pages as they are now, into docs/screenshots/; after `make demo`
	$(BIN)/python -m tests.browser.screenshots

viewers: $(STAMP) ## 50 viewers of the dashboard for two minutes: no error, memory flat; after `make demo`
	$(BIN)/python -m tests.browser.viewers

guards: $(STAMP) ## each guard taken out of a copy of the source: its test must fail; STACK=<home of a running stack> for all
	$(BIN)/python -m tests.guards $(STACK)

check: $(STAMP) ## lint, types, unit and model tests: what needs no service
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest src tests/unit tests/model

install: setup ## the same as setup

up: setup ## start Kafka, Cassandra, HiveServer2, a stream and a batch schedule per dataset, the API
	@$(BIN)/braid up

status: $(STAMP) ## what runs, and what each dataset holds
	@$(BIN)/braid status $(ARGS)

logs: $(STAMP) ## the log of a program: NAME=speed-landcover ARGS=-f; without NAME the names
	@$(BIN)/braid logs $(NAME) $(ARGS)

generate-historical: $(STAMP) ## all sample rows of DATASET=landcover into Kafka, with times in the past; again: nothing is counted twice
	$(BIN)/braid produce $(DATASET) --limit all --rate 3000 $(ARGS)

run-producer: $(STAMP) ## synthetic events of DATASET as of now, RATE=100 a second, until Ctrl-C
	$(BIN)/braid produce $(DATASET) --synthetic --rate $(or $(RATE),100) $(ARGS)

run-streaming: $(STAMP) ## the speed layer of DATASET in the foreground (`make up` runs it already)
	$(BIN)/braid stream $(DATASET) $(ARGS)

run-batch: $(STAMP) ## the batch layer of DATASET once: archive, recompute, audit, publish
	$(BIN)/braid batch $(DATASET) $(ARGS)

test-scalability: $(STAMP) ## 10, 100, 1,000 events/s of DATASET into the running stack: lag, freshness; after `make up`
	$(BIN)/python -m bench.scalability --dataset $(DATASET) $(ARGS)

down: ## stop everything this checkout started
	@if [ -x $(BIN)/braid ]; then $(BIN)/braid down; else echo "nothing was running: no $(VENV)"; fi

clean: ## stop everything and remove .braid with all its data; .venv and the cache of jars stay
	@if [ -x $(BIN)/braid ]; then $(BIN)/braid clean; else echo "nothing to remove: no $(VENV)"; fi

cql: $(STAMP) ## write cql/ anew from datasets/
	$(BIN)/python -m braid.cql datasets/*.yaml

lock: $(STAMP) ## write requirements*.txt and jars.sha256 anew
	$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --output-file requirements.txt requirements.in
	$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --output-file requirements-dev.txt requirements-dev.in
	$(BIN)/python -m stack.lock

# the stamp is renewed when a list of packages changes; an interrupted install leaves none and is done again
$(STAMP): requirements.txt requirements-dev.txt pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
	  echo "braid: no Python 3.11-3.13 with venv found; install one (Debian: apt-get install python3 python3-venv), or make PYTHON=/path/to/python" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "braid: $(PYTHON) is $$($(PYTHON) -V 2>&1); expected Python 3.11-3.13: make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "braid: $(PYTHON) cannot make a virtual environment (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "installing the Python packages into $(VENV) (about 1.5 GB, a minute or more the first time)"
	@$(UV) || { \
	  echo "uv could not install them; pip does, in some minutes" >&2; \
	  $(PIP) --require-hashes -r requirements.txt -r requirements-dev.txt; }
	$(PIP) --no-deps --editable .
# uv leaves that to every first import; where Python may write no bytecode (PYTHONDONTWRITEBYTECODE) each start compiled 1.5 s of packages
# (what Python 3.12 and later warn of in other people's files is not the user's to mend)
	@$(BIN)/python -W ignore::SyntaxWarning -m compileall -qq -j 0 $(VENV)/lib src || echo "some packages hold files that are not for this Python; harmless" >&2
	@touch $(STAMP)
