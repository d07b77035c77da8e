"""What each notebook may do: its least permissions as RBAC rules, one module per subject."""

from .table import TITLES, permissions

__all__ = ["TITLES", "permissions"]
