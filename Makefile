# Two commands matter: `make try` shows the main job, `make test` proves it.

# `make try SHELL=1` is the promise of the README, and SHELL is also the name
# of make's own variable: take the wish, then give make its shell back.
ifeq ($(origin SHELL),command line)
wish := $(filter-out 0 no,$(SHELL))
endif
override SHELL := /bin/sh
unexport SHELL

python := .venv/bin/python
# Tests wait more than they compute, so that there may be more of them than processors.
side_by_side := --dist=loadfile --no-loadscope-reorder -n $(shell count=$$(($$(nproc) * 3 / 2)); echo $$((count < 8 ? count : 8)))
export PYTHONDONTWRITEBYTECODE := 1

# Each is a command of its own: .venv/bin/python -m tests.bench.peers --help
benches := peers latency mixed tcp scale footprint steps wire_steps million_names

.PHONY: help try test lint types bench deb clean venv lab
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

try: lab ## the main job, step by step, in throw-away namespaces (SHELL=1: and then a shell in there)
	@.ci/privileged $(python) -m tests.lab.try_it $(if $(wish),--shell)

# First those whose figures need a quiet machine, alone; then all others side by side. Compiled once,
# and not by each of some hundred agents that the tests start. Workers with hashes of their own might
# order a set of cases differently, and xdist refuses that.
test: venv ## lint, types and the whole suite
	@if [ -n "$$CI" ]; then .ci/setup; else .ci/setup || echo "going on: tests that need it will skip" >&2; fi
	@$(MAKE) --no-print-directory lint types
	@$(python) -m compileall -q dynallow tests
	@unset PYTHONDONTWRITEBYTECODE; failed=0; \
	    .ci/privileged $(python) -m pytest -m "alone and not slow" || failed=1; \
	    PYTHONHASHSEED=0 .ci/privileged $(python) -m pytest $(side_by_side) --durations=15 -m "not alone and not slow" || failed=1; \
	    exit $$failed

lint: venv ## ruff: rules and format
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .

types: venv ## mypy --strict
	@$(python) -m mypy

bench: lab ## measure beside dnsmasq, and print the ratios
	@for bench in $(benches); do \
	    echo "== python -m tests.bench.$$bench"; \
	    .ci/privileged $(python) -m "tests.bench.$$bench" || exit 1; \
	done

deb: venv ## the Debian package, in dist/
	@$(python) .ci/deb.py dist

clean: ## remove all that the other targets made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@.ci/setup venv

lab:
	@.ci/setup
