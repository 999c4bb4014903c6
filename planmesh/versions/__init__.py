"""The store of versions: the rows of the versions that a mesh serves. Each version appears whole or not at all."""
