"""Changes of served graphs: rules, resolution against the current state, durable application, announcement."""
