# planmesh: `make help` tells what there is.
.DEFAULT_GOAL := help
.PHONY: help setup kernels demo load bench bench-full bench-stores bench-scaling bench-balancing test test-tools test-redis test-stores test-long test-exact compose-test kubernetes-check test-fast lint format protos check-protos docs check-docs lock clean

PYTHON_BIN := .venv/bin
# Arguments for pytest, such as: make test ARGS="-k partition -x"
ARGS ?=

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*## "} {printf "  make %-14s %s\n", $$1, $$2}'

setup: ## Make .venv with the locked packages (the other targets call it)
	@scripts/setup

demo: setup ## Start a mesh, load the world's backbone, plan across it, draw the map, print the trace, stop
	@$(PYTHON_BIN)/python examples/backbone/demo.py

# Of the load test: steady, spike or soak; another graph; options of `planmesh load` for it; further ones of load/run.py.
SHAPE ?= steady
GRAPH ?=
GRAPH_OPTIONS ?=
LOAD_ARGS ?=

load: setup ## Run Locust for 60 s against a local mesh: make load [SHAPE=spike] [GRAPH=FILE GRAPH_OPTIONS="..."]
	@$(PYTHON_BIN)/python -m load.run --shape $(SHAPE) $(if $(GRAPH),--source "$(GRAPH)") \
		$(if $(GRAPH_OPTIONS),--source-options "$(GRAPH_OPTIONS)") $(LOAD_ARGS)

# Of the benchmark: further arguments, such as BENCH_ARGS="--graphs service-1m --subjects planmesh-search,networkit".
BENCH_ARGS ?=

bench: kernels ## Measure planmesh beside its peers: 10 k and 100 k nodes, and New York where its data is (minutes)
	@scripts/bench-setup
	@.venv-bench/bin/python -m bench --size small --fresh $(BENCH_ARGS)

bench-full: kernels ## The same up to 10 M nodes (hours); goes on where it was stopped, BENCH_ARGS=--fresh starts anew
	@scripts/bench-setup
	@.venv-bench/bin/python -m bench --size full $(BENCH_ARGS)

bench-stores: kernels ## Measure stores (SQLite, Redis, Neo4j, hybrid, Gremlin Server) beside the mesh at 100 k nodes (minutes)
	$(PYTHON_BIN)/python -m bench.stores $(BENCH_ARGS)

bench-scaling: kernels ## Measure each part's processor time, replicas of each part, and simulate 4 to 400 workers (minutes)
	$(PYTHON_BIN)/python -m bench.scaling measure $(BENCH_ARGS)
	$(PYTHON_BIN)/python -m bench.scaling scales --add
	$(PYTHON_BIN)/python -m bench.advise_figures
	$(PYTHON_BIN)/python -m bench.scaling grow
	$(PYTHON_BIN)/python -m bench.scaling report

bench-balancing: kernels ## Compare ways of balancing calls over replicas under a skewed load (minutes)
	$(PYTHON_BIN)/python -m bench.balancing $(BENCH_ARGS)

kernels: setup ## Compile the search kernels where that has not been done; tests have time limits, compilers do not
	@$(PYTHON_BIN)/python -m planmesh.local.warm search & pid=$$!; \
	$(PYTHON_BIN)/python -m planmesh.local.warm graph && wait $$pid

test: kernels ## Run all tests but those of test-stores: units, properties, and the mesh in real processes
	$(PYTHON_BIN)/python -m pytest -n 2 --dist loadfile -m "not stores and not long and not compose and not kubernetes" $(ARGS)

test-tools: kernels ## Run the tests that skip without grpcurl, promtool, Envoy or unshare; they are part of `test` too
	$(PYTHON_BIN)/python -m pytest -m "tools and not stores and not long and not compose and not kubernetes" $(ARGS)

# What differs between a Redis and a Valkey: scripts, expiry, the cluster, queues.
test-redis: kernels ## Run the tests of stores and queues in Redis against the redis-server on PATH; without one against the wheel's
	$(PYTHON_BIN)/python -m pytest -n 2 --dist loadfile -m "not stores and not long and not data" -k "redis or hybrid or dispatch" \
		tests/store tests/dispatch tests/services/coordinator $(ARGS)

test-stores: kernels ## Run the tests against Neo4j, Gremlin Server and JanusGraph, which it fetches (Maven, Java) and starts
	$(PYTHON_BIN)/python -m pytest -m "stores and not long" $(ARGS)

test-long: kernels ## Run the tests that take minutes: a real graph by way of more stores
	$(PYTHON_BIN)/python -m pytest -m long --timeout 900 $(ARGS)

compose-test: kernels ## Start the cluster of docker-compose.yml, kill each of its processes under load, judge, remove it (Docker)
	$(PYTHON_BIN)/python -m pytest -m compose --timeout 900 $(ARGS)

kubernetes-check: setup ## Render deploy/kubernetes, hold it against the schemas of Kubernetes and against the services (Go)
	@scripts/render-kubernetes
	$(PYTHON_BIN)/python -m pytest -m kubernetes $(ARGS)

# Of test-exact: other arguments of `python -m tests.exactness`, such as EXACT_ARGS="--seed another --graphs 1000000".
EXACT_ARGS ?=

test-exact: kernels ## Check every pair of 100,000 small graphs under bounds that bite; goes on where it was stopped (half an hour)
	$(PYTHON_BIN)/python -m tests.exactness $(EXACT_ARGS)

test-fast: kernels ## Run the tests that start no processes and need no large graphs
	$(PYTHON_BIN)/python -m pytest -m "not mesh and not data and not slow and not stores and not compose and not kubernetes" $(ARGS)

lint: setup check-protos ## Run ruff, mypy --strict, import-linter and the generated-code check
	$(PYTHON_BIN)/ruff check .
	$(PYTHON_BIN)/ruff format --check .
	$(PYTHON_BIN)/mypy
	$(PYTHON_BIN)/lint-imports

format: setup ## Format the code and mend what ruff can mend
	$(PYTHON_BIN)/ruff format .
	$(PYTHON_BIN)/ruff check --fix .

protos: setup ## Generate the gRPC code from protos/
	@scripts/generate-protos .

check-protos: setup ## Fail when the generated code is not what protos/ gives
	@scripts/check-protos

docs: setup ## Write the generated pages of docs/reference, and build the site into build/site; a warning is an error
	@scripts/build-docs

check-docs: setup ## Fail when a generated page is out of date, or when the site does not build without a warning
	@scripts/build-docs --check

lock: setup ## Write requirements.lock anew from pyproject.toml
	@scripts/lock

clean: ## Remove what was built (not .venv, not a mesh's data)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
