"""Limits of the machine that this process runs on."""

from __future__ import annotations


def default_workers() -> int:
    """The processors that this process may use: of its affinity, and within the quota of its container."""
    from loky import cpu_count

    return cpu_count()
