# planmesh: `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup kernels demo load-test load bench bench-full bench-stores bench-scaling bench-throughput bench-live bench-balancing test test-tools test-redis test-stores test-long test-exact test-live compose-test kubernetes-check test-fast lint format protos check-protos docs lock clean

PYTHON_BIN := .venv/bin
# Arguments for pytest, such as: make test ARGS="-k partition -x"
ARGS ?=

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*## "} {printf "  make %-16s %s\n", $$1, $$2}'

setup: ## Make .venv with the locked packages (the other targets call it)
	@scripts/setup

demo: setup ## Start a mesh, load the world's backbone, plan across it, draw the map, print the trace, stop
	@$(PYTHON_BIN)/python examples/backbone/demo.py

# For load-test: the shape (steady, spike or soak), another graph, options of `planmesh load` for it, and of load/run.py.
SHAPE ?= steady
GRAPH ?=
GRAPH_OPTIONS ?=
LOAD_ARGS ?=

load-test: setup ## Run Locust for 60 s against a local mesh: make load-test [SHAPE=spike] [GRAPH=FILE GRAPH_OPTIONS="..."]
	@$(PYTHON_BIN)/python -m load.run --shape $(SHAPE) $(if $(GRAPH),--source "$(GRAPH)") \
		$(if $(GRAPH_OPTIONS),--source-options "$(GRAPH_OPTIONS)") $(LOAD_ARGS)

load: load-test ## The former name of load-test

# For the benchmarks: further arguments, such as BENCH_ARGS="--graphs service-1m --subjects planmesh-search,networkit".
BENCH_ARGS ?=

bench: kernels ## Measure planmesh and its peers: 10 k and 100 k nodes, and New York if its data exists (minutes)
	@scripts/bench-setup
	@.venv-bench/bin/python -m bench --size small --fresh $(BENCH_ARGS)

bench-full: kernels ## The same up to 10 M nodes (hours); resumes where it stopped, BENCH_ARGS=--fresh starts over
	@scripts/bench-setup
	@.venv-bench/bin/python -m bench --size full $(BENCH_ARGS)

bench-stores: kernels ## Measure stores (SQLite, Redis, Neo4j, hybrid, Gremlin Server) and the mesh at 100 k nodes (minutes)
	$(PYTHON_BIN)/python -m bench.stores $(BENCH_ARGS)

bench-scaling: kernels ## Measure each process's processor time and replicas, and simulate 4 to 400 workers (minutes)
	$(PYTHON_BIN)/python -m bench.scaling measure $(BENCH_ARGS)
	$(PYTHON_BIN)/python -m bench.scaling scales --add
	$(PYTHON_BIN)/python -m bench.advise_figures
	$(PYTHON_BIN)/python -m bench.scaling grow
	$(PYTHON_BIN)/python -m bench.scaling report

bench-throughput: kernels ## Measure plans/s and what a plan costs, beside the commit before plans were computed in batches (minutes)
	@scripts/bench-setup
	@.venv-bench/bin/python -m bench.throughput $(BENCH_ARGS)

bench-live: kernels ## Measure plans on a graph that changes, and what its changes cost, beside peers (minutes)
	@scripts/bench-setup
	@.venv-bench/bin/python -m bench.live $(BENCH_ARGS)

bench-balancing: kernels ## Compare methods of balancing calls over replicas under skewed traffic (minutes)
	$(PYTHON_BIN)/python -m bench.balancing $(BENCH_ARGS)

kernels: setup ## Compile the search kernels that are not compiled yet, outside the time limits of the tests
	@$(PYTHON_BIN)/python -m planmesh.local.warm search & pid=$$!; \
	$(PYTHON_BIN)/python -m planmesh.local.warm graph && wait $$pid

test: kernels ## Run all tests except test-stores, test-long, compose-test and kubernetes-check
	$(PYTHON_BIN)/python -m pytest -n 2 --dist loadfile -m "not stores and not long and not compose and not kubernetes" $(ARGS)

test-tools: kernels ## Run the tests that skip without grpcurl, promtool, Envoy or unshare; they are part of `test` too
	$(PYTHON_BIN)/python -m pytest -m "tools and not stores and not long and not compose and not kubernetes" $(ARGS)

# For differences between Redis and Valkey: scripts, expiry, the cluster, queues.
test-redis: kernels ## Run the tests of stores and queues in Redis on the redis-server on PATH, or on the wheel's Valkey
	$(PYTHON_BIN)/python -m pytest -n 2 --dist loadfile -m "not stores and not long and not data" -k "redis or hybrid or dispatch" \
		tests/store tests/dispatch tests/services/coordinator $(ARGS)

test-stores: kernels ## Fetch and start Neo4j, Gremlin Server and JanusGraph, and run their tests (Maven, Java)
	$(PYTHON_BIN)/python -m pytest -m "stores and not long" $(ARGS)

test-long: kernels ## Run the tests that take minutes: a real graph loaded through more stores
	$(PYTHON_BIN)/python -m pytest -m long --timeout 900 $(ARGS)

compose-test: kernels ## Start the cluster of docker-compose.yml, kill its processes under load, judge the answers (Docker)
	$(PYTHON_BIN)/python -m pytest -m compose --timeout 900 $(ARGS)

kubernetes-check: setup ## Render deploy/kubernetes, check it against Kubernetes' schemas and the services (Go)
	@scripts/render-kubernetes
	$(PYTHON_BIN)/python -m pytest -m kubernetes $(ARGS)

# For test-exact: arguments of `python -m tests.exactness`, such as EXACT_ARGS="--seed another --graphs 1000000".
EXACT_ARGS ?=

test-exact: kernels ## Check every pair of 100,000 small graphs under tight bounds; resumes where it stopped (half an hour)
	$(PYTHON_BIN)/python -m tests.exactness $(EXACT_ARGS)

# For test-live: arguments of `python -m tests.live`, such as LIVE_ARGS="--first 7 --seeds 1 --calls 50000".
LIVE_ARGS ?=

test-live: kernels ## Update graphs and plan on them while processes are killed and stopped, ten times; check every answer (an hour)
	$(PYTHON_BIN)/python -m tests.live $(LIVE_ARGS)

test-fast: kernels ## Run the tests that start no processes and need no large graphs
	$(PYTHON_BIN)/python -m pytest -m "not mesh and not data and not slow and not stores and not compose and not kubernetes" $(ARGS)

lint: setup check-protos ## Run ruff, mypy --strict, import-linter and the generated-code check
	$(PYTHON_BIN)/ruff check .
	$(PYTHON_BIN)/ruff format --check .
	$(PYTHON_BIN)/mypy
	$(PYTHON_BIN)/lint-imports

format: setup ## Format the code and fix what ruff can fix
	$(PYTHON_BIN)/ruff format .
	$(PYTHON_BIN)/ruff check --fix .

protos: setup ## Generate the gRPC code from protos/
	@scripts/generate-protos .

check-protos: setup ## Fail when the generated code does not match protos/
	@scripts/check-protos

docs: setup ## Write the generated pages of docs/reference, and build the site into build/site; a warning is an error
	@scripts/build-docs

check-docs: setup ## Fail when a generated page is out of date, or when the site does not build without a warning
	@scripts/build-docs --check

lock: setup ## Write the lock files from pyproject.toml
	@scripts/lock

clean: ## Remove build products (not .venv, not a mesh's data)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
