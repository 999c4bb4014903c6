"""Shared parts of all gRPC services and clients of the mesh: deadlines, statuses, servers, channels."""
