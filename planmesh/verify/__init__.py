"""Verification of data at rest: the files are intact, and their distances are those of a plain search of the graph."""

from planmesh.verify.report import Finding, Tally, Verification
from planmesh.verify.run import VerifyOptions, verify
from planmesh.verify.stored_version import StoredSnapshot, find_snapshot

__all__ = ["Finding", "StoredSnapshot", "Tally", "Verification", "VerifyOptions", "find_snapshot", "verify"]
