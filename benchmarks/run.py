"""All benchmarks in one command: ``.venv/bin/python benchmarks/run.py`` writes docs/benchmarks.md.

Each compares two things in the same run on the same machine; the ratio is the result. They use a sandbox and a state
directory of their own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import apply_objects
import many_pods
import sandbox_up
import streams
import walk_through
from measuring import PAGE, Row, machine, section

ALL = {module.__name__: module for module in (sandbox_up, walk_through, apply_objects, many_pods, streams)}

HEAD = """# Benchmarks

`python benchmarks/run.py` measures this table anew. Two things are compared in one run on one machine: the ratio is the
result, the seconds are that machine's. Sandbox seconds are not a cloud's. Lists of pods have a [page of their
own](listing.md).

"""


def main(names: list[str]) -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="rb") as state:
        os.environ["XDG_STATE_HOME"] = state
        os.environ.pop("KUBECONFIG", None)
        for name in names or ALL:
            print(f"{name} …", flush=True)
            found = ALL[name].measure()
            rows += found
            for row in found:
                print(f"  {row.what}: {row.value} ({row.against}: {row.other}); {row.ratio}", flush=True)
    if not names:
        PAGE.write_text(page(rows), encoding="utf-8")


def page(rows: list[Row]) -> str:
    """The page, with scale.py's section as it was."""
    lines = [(row.what, row.value, row.against, row.other, row.ratio) for row in rows]
    table = section(["what", "measured", "compared with", "", "ratio"], lines)
    _, heading, scale = PAGE.read_text(encoding="utf-8").partition("\n## Scale")
    return HEAD + f"Measured on {datetime.now(UTC):%Y-%m-%d} with {machine()}.\n\n{table}{heading}{scale}"


if __name__ == "__main__":
    main(sys.argv[1:])
