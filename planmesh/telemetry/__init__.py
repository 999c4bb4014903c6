"""Traces, metrics and logs. `planmesh.telemetry.tracing.setup` is called once per process."""
