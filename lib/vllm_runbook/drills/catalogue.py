"""Every drill, by name."""

from __future__ import annotations

from ..errors import RunbookError
from ..params.errors import did_you_mean
from . import of_gpus, of_nodes, of_servers, of_weights
from .drill import Drill

DRILLS: dict[str, Drill] = {
    drill.name: drill for drill in (*of_servers.DRILLS, *of_gpus.DRILLS, *of_weights.DRILLS, *of_nodes.DRILLS)
}


def named(name: str) -> Drill:
    """A drill by its name.

    Raises:
        RunbookError: there is none of that name.
    """
    if name not in DRILLS:
        hint = did_you_mean(name, DRILLS)
        raise RunbookError(f"There is no drill {name}", why=f"there are {', '.join(DRILLS)}", next_step=hint)
    return DRILLS[name]
