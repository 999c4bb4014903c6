"""How a mesh grows: measured processor time of each process, a discrete-event simulation, and a comparison of both.

`python -m bench.scaling --help`. docs/operations/scaling.md is based on the results.
"""
