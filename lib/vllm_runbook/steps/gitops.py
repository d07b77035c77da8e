"""Notebook 12: the export, rendered and compared with the cluster; and how ownership of fields goes over and back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import plotly.graph_objects as go

from .. import cluster as k8s
from ..cluster import Conflict, Object, Ref
from ..export import Contents, Request, drift, make, render, write
from ..notebook import Notebook
from ..plots import sync_figure
from ..tables import Table
from ..tools import find
from . import deploy

#: Field manager that plays the other one: somebody who edits, Argo CD, Flux.
OTHER = "gitops-rehearsal"
_NOT_APPLIED = "not applied"
_FIELD = "spec.progressDeadlineSeconds"


@dataclass(frozen=True)
class Trees:
    """Both exports of this platform and model.

    Attributes:
        directories: by form, kustomize and helm.
        contents: what they must render to.
    """

    directories: dict[str, Path]
    contents: Contents
    _temporary: tempfile.TemporaryDirectory[str] | None = None

    def table(self) -> Table:
        """What is in them, by layer; and what must be there without them."""
        rows: list[tuple[object, ...]] = [
            (layer, len(self.contents.of(layer)), ", ".join(dict.fromkeys(i.notebook for i in self.contents.of(layer))))
            for layer in self.contents.layers
        ]
        rows += [("not exported", each.what, each.why) for each in self.contents.missing]
        return Table(("layer", "objects", "of the notebooks"), rows)


def export(book: Notebook, directory: str, platform: str, model: str) -> Trees:
    """Write both trees.

    Args:
        directory: where to; empty for a temporary directory, which is gone with this notebook.
        platform, model: as the notebook was given them.

    Raises:
        RunbookError: a chart can't be rendered, or a file in the way isn't ours.
    """
    temporary = None if directory else tempfile.TemporaryDirectory(prefix="runbook-export-")
    root = Path(temporary.name if temporary else directory)
    overrides = {name: str(value) for name, value in book.params.overrides.items()}
    request = Request("kustomize", (platform,), model, overrides)
    directories = {}
    for form in ("kustomize", "helm"):
        files, (contents,) = make(replace(request, form=form))
        done = write(root / form, replace(request, form=form), files)
        directories[form] = root / form
        print(f"{form}: {len(files)} files, {len(done.written)} written")
    return Trees(directories, contents, temporary)


def rendered(book: Notebook, trees: Trees) -> Table:
    """Both trees, rendered by the real programs, object by object against what the notebooks apply; notes the check."""
    wrong: list[str] = []
    rows: list[tuple[object, ...]] = []
    for form, program in render.PROGRAMS.items():
        if find(program) is None:
            rows.append((program, "", "isn't installed"))
            continue
        items = render.render(trees.directories[form], form, trees.contents.platform)
        unlike = render.unlike(items, trees.contents)
        wrong += [f"{program}: {each}" for each in unlike]
        rows.append((program, len(items), "\n".join(unlike) or "each as the notebooks apply it"))
    book.check("kubectl and helm render what the notebooks apply", not wrong, "; ".join(wrong))
    return Table(("rendered by", "objects", "which are"), rows)


def compare(book: Notebook, trees: Trees) -> list[drift.Drift]:
    """The rendered tree against the cluster; notes the check for the notebooks that were here."""
    _restore(book)
    items = render.render(trees.directories["kustomize"], "kustomize", trees.contents.platform)
    found = drift.drift(book.cluster, items)
    book.figure("objects_in_sync", sum(each.state == drift.SAME for each in found))
    # a namespace alone says nothing: others put something into it before the notebook ran
    here = {each.notebook for each in found if each.state != drift.MISSING and each.ref.kind != "Namespace"}
    found = [
        replace(each, state=_NOT_APPLIED) if each.notebook not in here or _was_there(book, each) else each
        for each in found
    ]
    wrong = [each for each in found if each.state not in (drift.SAME, _NOT_APPLIED)]
    words = "; ".join(line.strip() for line in drift.lines(wrong)[:-1])
    book.check("what the notebooks applied here is as exported", bool(here) and not wrong, words or "nothing is here")
    return found


def _was_there(book: Notebook, compared: drift.Drift) -> bool:
    """Whether it is a namespace that somebody else made: notebooks use it as it is."""
    if compared.ref.kind != "Namespace" or compared.state == drift.MISSING:
        return False
    live = book.cluster.find(compared.ref)
    return live is not None and not k8s.is_ours(live)


def figure(book: Notebook, found: list[drift.Drift]) -> go.Figure:
    """Objects by notebook and state."""
    return sync_figure(((each.notebook, each.state) for each in found), f"Exported objects in {book.cluster.context}")


def table(found: list[drift.Drift]) -> Table:
    """Where the cluster differs; not what was never applied."""
    return drift.table([each for each in found if each.state != _NOT_APPLIED])


def allowed(book: Notebook) -> bool:
    """Whether fields may be changed here for a moment (``rehearsal.drills``); says so if not."""
    if not book.params.platform.rehearsal.drills:
        print("nothing is changed: rehearsal.drills is false for this platform")
    return book.params.platform.rehearsal.drills


def make_drift(book: Notebook, trees: Trees) -> Table:
    """Somebody else changes one field of the Deployment; it is found, named and put back. Notes the check.

    The field is no pod's: nothing restarts.
    """
    wanted = _exported(trees, Ref("Deployment", deploy.DEPLOYMENT, book.namespace, "apps/v1"))
    value = int(k8s.get_in(wanted, _FIELD))
    with _put_back(book, wanted):
        book.cluster.apply(k8s.changed(_bare(wanted), {_FIELD: value + 60}), manager=OTHER, force=True)
        found = drift.drift(book.cluster, [wanted])
    seen = found[0].managers == (OTHER,) and found[0].fields == (f"~ {_FIELD}: {value + 60} -> {value}",)
    (after,) = drift.drift(book.cluster, [wanted])
    book.check("a field that somebody else changed is found, with its manager", seen, "; ".join(drift.lines(found)))
    book.check("and put back", after.state == drift.SAME, "; ".join(after.fields))
    return drift.table(found)


def owners(book: Notebook, trees: Trees) -> Table:
    """Field managers that applied the exported objects."""
    counts: dict[tuple[str, ...], int] = {}
    for item in trees.contents.items:
        ref = item.key[1]
        if book.cluster.serves(ref.kind, ref.version) and (live := book.cluster.find(ref)):
            names = tuple(sorted(k8s.managers(live)))
            counts[names] = counts.get(names, 0) + 1
    rows = [(", ".join(names) or "(nobody, by server-side apply)", count) for names, count in sorted(counts.items())]
    return Table(("applied by", "objects"), rows)


def hand_over(book: Notebook, trees: Trees) -> Table:
    """One Service goes over to another manager and comes back, without a change to it; notes the check."""
    wanted = _exported(trees, Ref("Service", deploy.SERVICE, book.namespace, "v1"))
    ref, rows = k8s.ref_of(wanted), []
    before = book.cluster.get(ref)

    def note(what: str, says: str = "no conflict") -> None:
        rows.append((what, ", ".join(sorted(k8s.managers(book.cluster.get(ref)))), says))

    note("as it is", "")
    with _put_back(book, wanted):
        book.cluster.apply(wanted, manager=OTHER)
        note("the other one applies the same tree")
        k8s.release(book.cluster, ref)
        note("the runbook gives its fields up")
        now = k8s.managers(book.cluster.get(ref))
        gone_over = OTHER in now and k8s.MANAGER not in now
        try:
            book.plan([k8s.changed(wanted, {"spec.ports[0].targetPort": deploy.PORT + 1})])
            refused = ""
        except Conflict as conflict:
            refused = str(conflict).splitlines()[0]
        note("the runbook wants another port (dry run)", refused)
    note("the runbook applies the tree, the other one gives up")
    after = book.cluster.get(ref)
    now = k8s.managers(after)
    whole = k8s.MANAGER in now and OTHER not in now and after["spec"] == before["spec"]
    book.check("ownership went over and came back, and nothing else changed", gone_over and OTHER in refused and whole)
    return Table(("step", "applied by", "and"), rows)


def _exported(trees: Trees, ref: Ref) -> Object:
    return next(item.object for item in trees.contents.items if item.key[1] == ref)


def _bare(item: Object) -> Object:
    """Nothing but the name."""
    meta = {"name": item["metadata"]["name"], "namespace": item["metadata"]["namespace"]}
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": meta}


@contextmanager
def _put_back(book: Notebook, wanted: Object) -> Iterator[None]:
    """Whatever happens inside, the object is ours and as exported afterwards."""
    try:
        yield
    finally:
        book.cluster.apply(wanted, force=True)
        k8s.release(book.cluster, k8s.ref_of(wanted), OTHER)


def _restore(book: Notebook) -> None:
    """Put back what an interrupted run left changed."""
    params, sizing = book.params, book.sizing
    for item in deploy.objects(params, sizing):
        live = book.cluster.find(k8s.ref_of(item))
        if live is not None and OTHER in k8s.managers(live):
            with _put_back(book, k8s.marked(item, k8s.step_of(live))):
                pass
