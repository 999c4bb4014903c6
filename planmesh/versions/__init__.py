"""The rows of the versions that a mesh serves: each appears whole or not at all."""
