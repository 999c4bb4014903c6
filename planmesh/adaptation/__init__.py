"""Rules by which a process changes its own settings while it runs: bounded, logged, and off when a setting says so."""
