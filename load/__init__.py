"""Load tests of the gateway with Locust. `make load-test` runs them; see docs/load-testing.md."""
