"""The doctor: what is wrong in a namespace, why, and what mends it. It only reads."""

from .codes import CODES, Code
from .context import Context, context_of
from .diagnosis import Diagnosis, diagnose
from .examine import examine
from .findings import Evidence, Finding, Severity
from .snapshot import Snapshot

__all__ = [
    "CODES",
    "Code",
    "Context",
    "Diagnosis",
    "Evidence",
    "Finding",
    "Severity",
    "Snapshot",
    "context_of",
    "diagnose",
    "examine",
]
