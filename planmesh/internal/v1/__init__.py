"""Messages and services between the parts, generated from `protos/planmesh/internal/v1`."""
