"""The cluster: connect, preview, apply, watch, explain, undo."""

from .access import Rule, refused, rules
from .client import MANAGER, ApiError, Cluster
from .collector import collector_waits
from .connect import connect
from .dry_run import DryRunEnded
from .objects import API_VERSIONS, Object, Ref, changed, get_in, in_order, load, ref_of
from .ownership import Conflict, as_managed, created, is_ours, managers, marked, release, step_of
from .planning import Applied, Change, Plan, apply, delete, plan, wait_gone
from .programs import Program, program
from .proxy import ServiceProxy
from .stream import Seen, Selection, watching
from .tunnel import PodTunnel
from .waiting import Hopeless, State, TimedOut, condition, is_true, wait

__all__ = [
    "API_VERSIONS",
    "MANAGER",
    "ApiError",
    "Applied",
    "Change",
    "Cluster",
    "Conflict",
    "DryRunEnded",
    "Hopeless",
    "Object",
    "Plan",
    "PodTunnel",
    "Program",
    "Ref",
    "Rule",
    "Seen",
    "Selection",
    "ServiceProxy",
    "State",
    "TimedOut",
    "apply",
    "as_managed",
    "changed",
    "collector_waits",
    "condition",
    "connect",
    "created",
    "delete",
    "get_in",
    "in_order",
    "is_ours",
    "is_true",
    "load",
    "managers",
    "marked",
    "plan",
    "program",
    "ref_of",
    "refused",
    "release",
    "rules",
    "step_of",
    "wait",
    "wait_gone",
    "watching",
]
