"""The catalog of graphs and versions: serving, describing, watching, exporting and retiring them."""
