"""Notebook 30: is what was applied still there, and does it answer? Nothing is changed, and nothing could be."""

from __future__ import annotations

from .. import cluster as k8s
from ..cluster import Object, Ref
from ..cluster.lease import holder_of
from ..errors import RunbookError
from ..notebook import Notebook
from ..permissions import TITLES
from ..tables import Table
from . import claims, deploy
from .inventory import Inventory, inventory
from .read_only_drift import differences

_QUIET = "no run changed anything meanwhile"
#: As notebook 04 says it (deploy.chat).
_ANSWERS = "one chat completion streamed to its end, with a finish_reason and its tokens counted"
_SHOWN = 5


def undisturbed(book: Notebook) -> None:
    """Note whether a run holds the Lease: what is being changed can't be judged. Asked first and last."""
    if held := holder_of(book.cluster, book.namespace):
        book.check(_QUIET, False, held.why)
    elif all(check.name != _QUIET for check in book.result.checks):
        book.check(_QUIET, True)


def smoke(book: Notebook, question: str) -> None:
    """One streamed completion through the Service; notes the check.

    Where the autoscaler has taken all servers away (``autoscaling.min_replicas`` 0) nobody is asked: a question would
    need a GPU to come first.
    """
    servers = book.cluster.find(Ref("Deployment", deploy.DEPLOYMENT, book.namespace))
    if servers and servers["spec"].get("replicas") == 0 and book.params.platform.autoscaling.min_replicas == 0:
        print("nobody is asked: the autoscaler has taken the servers to zero, as autoscaling.min_replicas allows")
        return
    try:
        deploy.chat(book, question, max_tokens=32)
    except RunbookError as error:
        book.check(_ANSWERS, False, " ".join(str(error).split()))


class Look:
    """What was compared.

    Attributes:
        rows: notebook, object, what is the matter; only objects that differ.
        compared: how many objects were.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[str, Ref, str]] = []
        self.compared = 0
        self.not_compared: list[tuple[str, str, str]] = []

    def table(self) -> Table:
        whole = [("", f"{self.compared} objects", "as they were applied")]
        return Table(("notebook", "object", "difference"), [*self.rows] or whole)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return self.table()._repr_mimebundle_()

    def left_out(self) -> Table:
        """What has no manifest, or can't be rendered here."""
        return Table(("notebook", "not compared", "why"), self.not_compared or [("", "nothing", "")])


def drift(book: Notebook, applied: str = "") -> Look:
    """Compare every object that notebooks leave in place with its manifest; notes the check and figures.

    Args:
        applied: numbers or names of the notebooks whose objects must be there. Empty: of those that left any.

    Raises:
        RunbookError: no notebook has such a name.
    """
    wanted = _notebooks(applied)
    items = inventory(book.params, wanted or None)
    live = [book.cluster.find(ref) if book.cluster.serves(ref.kind, ref.version) else None for ref in _refs(items)]
    # a namespace alone says nothing: roles were put into it before the notebook ran
    present = {
        entry.notebook
        for entry, found in zip(items, live, strict=True)
        if found and k8s.is_ours(found) and entry.object["kind"] != "Namespace"
    }
    look = Look()
    for entry, found in zip(items, live, strict=True):
        if entry.notebook not in (wanted or present):
            continue
        look.compared += 1
        look.rows += [(entry.notebook, k8s.ref_of(entry.object), words) for words in _words(entry.object, found)]
    look.not_compared = [(each.notebook, each.what, each.why) for each in items.missing]
    book.check("what the notebooks applied is there", look.compared > 0, "nothing is: was anything applied?")
    changed = [f"{ref}: {words}" for _, ref, words in look.rows]
    more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    book.check("nothing differs from what was applied", not changed, "; ".join(changed[:_SHOWN]) + more)
    book.figure("compared_objects", look.compared)
    book.figure("different_objects", len({ref for _, ref, _ in look.rows}))
    return look


def _words(wanted: Object, found: Object | None) -> list[str]:
    if found is None:
        return ["is not there"]
    if found["metadata"].get("deletionTimestamp"):
        return ["is being deleted"]
    if not k8s.is_ours(found):  # a namespace of others is used as it is
        return [] if wanted["kind"] == "Namespace" else ["was not made by this runbook"]
    if wanted["kind"] == "PersistentVolumeClaim":
        wanted = claims.kept(wanted, found)  # what is larger than needed can't be otherwise
    return [str(each) for each in differences(wanted, found)]


def _refs(items: Inventory) -> list[Ref]:
    return [k8s.ref_of(item) for item in items.objects]


def _notebooks(text: str) -> list[str]:
    """Names for numbers: ``01 04`` or ``04_deploy_vllm``."""
    found = []
    for word in text.replace(",", " ").split():
        matches = [name for name in TITLES if word == name or (word.isdigit() and int(word) == int(name[:2]))]
        if not matches:
            raise RunbookError(f"There is no notebook {word}", why=f"there are {', '.join(TITLES)}")
        found += matches
    return found
