"""What every gRPC service and client of the mesh shares: deadlines, statuses, servers, channels."""
