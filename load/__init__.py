"""Load tests of the gateway with Locust. `make load-test` runs them; see docs/operations/load-testing.md."""
