"""The services of a mesh: gateway, coordinator and partition service."""
