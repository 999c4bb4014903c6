"""`python -m planmesh.cli` is `planmesh`."""

from __future__ import annotations

from planmesh.cli.entry import main

if __name__ == "__main__":
    main()
