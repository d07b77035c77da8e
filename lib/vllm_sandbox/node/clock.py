"""Timestamps as the API writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """Current time, seconds (metav1.Time)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_micro() -> str:
    """Current time, microseconds (metav1.MicroTime; also log lines)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
