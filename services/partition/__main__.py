"""`python -m services.partition` runs the partition service."""

from __future__ import annotations

import sys

from planmesh.rpc.process import run_process
from planmesh.settings import PartitionSettings
from services.partition.process import main

if __name__ == "__main__":
    sys.exit(run_process("planmesh-partition", PartitionSettings, main))
