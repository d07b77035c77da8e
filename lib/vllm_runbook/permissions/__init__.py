"""What each notebook may do: its least permissions as RBAC rules, one module per subject."""

from .table import LASTING, TITLES, changes_something, permissions

__all__ = ["LASTING", "TITLES", "changes_something", "permissions"]
