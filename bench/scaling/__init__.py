"""How a mesh grows: processor time of each part measured, a simulation with discrete events, and both held together.

`python -m bench.scaling --help`; docs/operations/scaling.md is written from what it gives.
"""
