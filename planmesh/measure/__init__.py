"""Measures a running mesh from outside, through the gateway, and checks its answers."""

from __future__ import annotations
