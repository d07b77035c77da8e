"""Lists of 1,000 and 10,000 pods, and 100 objects made: ``.venv/bin/python benchmarks/list_pods.py``.

It writes docs/listing.md. The notebooks' own steps are measured, on a sandbox and in a state directory of their own,
with the pinned kubectl and helm.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measuring import machine, sandbox, section

from vllm_runbook import notebook
from vllm_runbook.steps import applying, crowd, listing
from vllm_runbook.tables import Table
from vllm_sandbox import binaries

PAGE = Path(__file__).parents[1] / "docs" / "listing.md"
SIZES = (1000, 10_000)

HEAD = """# Listing pods, and making objects

`python benchmarks/list_pods.py` measures these tables anew (in about ten minutes).

Guides promise that `kubectl get pods --server-side=true` is ten times faster than `-l app=vllm`, which they call a
client-side filter. The flag doesn't exist for `get` (it belongs to `apply`), and a label selector has always been
evaluated by the API server: it is the fast way. One pod in a hundred has the label here.

What costs time is what is sent, and what the client makes of it:

- **A selector** has only the pods sent that are wanted, whole. Nothing is cheaper.
- **kubectl** asks for a table of printed columns, in pages of 500, and takes it compressed (the API server compresses
  answers of 128 KiB and more for clients that accept gzip). The table has each pod's metadata in it.
- **A table without the objects** (`includeObject=None`) has the printed columns of all pods in a few percent of
  the bytes.
- **Metadata only** is half of a pod: `managedFields` are metadata too.
- **Pages** save no time; they bound the memory, and what is lost when a request fails.
- **The watch cache** (`resourceVersion=0`) is no faster any more: since Kubernetes 1.31 ordinary lists come from it as
  well (ConsistentListFromCache).
- **Python** needs longer to build objects than the server to send them, most of all the typed client's models.

kubectl's times have the start of its process in them, the others none. Everything is on one machine, so bytes cost next
to nothing here, and more on a real network. Bytes are those of the answers' bodies.
"""

APPLYING = """
## Making 100 ConfigMaps

A common claim is that helm is twice as fast as kubectl for many objects. Measured on new objects, nothing waited for:

"""

TAIL = """
Helm took {client:.2f} times as long as `kubectl apply`, and {server_side:.2f} times as long as
`kubectl apply --server-side`. It renders the chart and records the release; the library previews every object by a dry
run first, as `kubectl diff` does.
"""


def main() -> None:
    tables: list[Table] = []
    with tempfile.TemporaryDirectory(prefix="rb") as state:
        os.environ["XDG_STATE_HOME"] = state
        os.environ.pop("KUBECONFIG", None)
        pinned = [str(program.parent) for program in binaries.ensure("kubectl", "helm").values()]
        os.environ["PATH"] = os.pathsep.join([*pinned, os.environ["PATH"]])
        with sandbox():
            book = notebook.begin("05_observability", "sandbox", "tiny")
            book.apply(crowd.plan(book))
            crowd.wait_ready(book)
            made = applying.measure(book)
            print(made.table())
            for pods in SIZES:
                crowd.populate(book, pods)
                tables.append(listing.measure(book, pods).table())
                print(tables[-1])
            book.verdict()
    text = HEAD + f"\nMeasured on {datetime.now(UTC):%Y-%m-%d} with {machine()}.\n"
    text += "".join(f"\n## {table.title}\n\n{section(table.columns, table.rows)}" for table in tables)
    ms = {key: way.ms or 0 for key, way in made.ways.items()}
    tail = TAIL.format(client=ms["helm"] / ms["kubectl_client"], server_side=ms["helm"] / ms["kubectl"])
    PAGE.write_text(text + APPLYING + section(made.table().columns, made.table().rows) + tail, encoding="utf-8")


if __name__ == "__main__":
    main()
