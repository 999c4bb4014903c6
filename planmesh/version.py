"""The version of planmesh, which the build reads here. Low layers name it without importing `planmesh` itself."""

from __future__ import annotations

VERSION = "0.1.0"
