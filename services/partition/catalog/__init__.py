"""The graphs and versions that this process has: what is served, described, watched, exported and retired."""
