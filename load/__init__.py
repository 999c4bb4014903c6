"""Load tests of the gateway with Locust; `make load` runs them, docs/load-testing.md tells how."""
