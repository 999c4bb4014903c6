"""Verification of data at rest: is what is stored whole, and does it mean what a plain search of the graph says."""

from planmesh.verify.report import Finding, Tally, Verification
from planmesh.verify.run import VerifyOptions, verify
from planmesh.verify.stored_version import StoredSnapshot, find_snapshot

__all__ = ["Finding", "StoredSnapshot", "Tally", "Verification", "VerifyOptions", "find_snapshot", "verify"]
