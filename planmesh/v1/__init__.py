"""The contract: messages and services, generated from `protos/planmesh/v1`."""
