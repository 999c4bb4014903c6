"""Traces, metrics and logs. Each process calls `planmesh.telemetry.tracing.setup` once."""
