"""Load tests of the gateway with Locust; `make load` runs them, docs/operations/load-testing.md tells how."""
