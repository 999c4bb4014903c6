"""What only the parts of a mesh say to each other."""
