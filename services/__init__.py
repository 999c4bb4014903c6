"""The processes of a mesh: gateway, coordinator, partition service."""
