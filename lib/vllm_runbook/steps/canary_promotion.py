"""The stable version takes over what is new, gives a rehearsal back, and ends what an interrupted run has begun."""

from __future__ import annotations

from .. import cluster as k8s
from ..cluster import Object, Ref
from ..notebook import Notebook
from . import canary, canary_wait, deploy, spot

#: Annotation of a stable Deployment that has the new version for a rehearsal: whoever finds it takes that back.
REHEARSED = "runbook.vllm.dev/rehearsed"


def promote(book: Notebook) -> None:
    """A rolling update of the stable Deployment to what is new; waits for it.

    Raises:
        Hopeless, TimedOut: as :func:`.canary_wait.version`.
    """
    if canary.settings(book.params).rehearse:
        fields = {f"metadata.annotations[{REHEARSED}]": "true"}
        _put(book, [k8s.changed(item, fields) for item in _stable(book, new=True)])
    else:
        _keep(book)


def take_back(book: Notebook) -> None:
    """End a rehearsal: the stable Deployment gets the version of the parameters again; waits for it.

    Raises:
        Hopeless, TimedOut: as :func:`.canary_wait.version`.
    """
    _put(book, _stable(book, new=False))


def mend(book: Notebook) -> None:
    """End what an interrupted run has begun: a promotion or a rehearsal, and a canary that nobody tries any more.

    The route must be at rest. A canary that is still new stays: it is tried again. In a dry run nothing is mended.

    Raises:
        Hopeless, TimedOut: as :func:`.canary_wait.version`.
    """
    if book.cluster.dry_run:
        return
    names = (deploy.DEPLOYMENT, spot.NAME)
    live = [book.cluster.find(Ref("Deployment", name, book.namespace)) for name in names]
    if any(item is not None and k8s.get_in(item, f"metadata.annotations[{REHEARSED}]", "") for item in live):
        print("an interrupted rehearsal: the stable version goes back to the version of the parameters")
        take_back(book)
    if book.cluster.find(Ref("Deployment", canary.NAME, book.namespace)) is None:
        return
    settings = canary.settings(book.params)
    if settings.is_new and canary.is_stable(book):
        print("an interrupted promotion: the stable version is the new one, and gets ready")
        _keep(book)
    elif settings.is_new or settings.keep:
        return
    print(f"Deployment {canary.NAME} is left of an earlier run: it goes")
    canary_wait.remove(book)


def _stable(book: Notebook, *, new: bool) -> list[Object]:
    """What is behind the stable Service: ours, and the one on spot nodes if notebook 08 made it."""
    params, sizing = book.params, book.sizing
    items = [deploy.deployment(params, sizing)]
    if book.cluster.find(Ref("Deployment", spot.NAME, book.namespace)) and params.platform.spot:
        items.append(spot.deployment(params, sizing))
    return [canary.promoted(item, params, sizing) for item in items] if new else items


def _keep(book: Notebook) -> None:
    items = _stable(book, new=True)
    book.apply(book.plan(items))
    _wait_for(book, items)


def _put(book: Notebook, items: list[Object]) -> None:
    """A rolling update that is taken back, or takes back: uncounted."""
    for item in items:
        book.put(item)
    _wait_for(book, items)


def _wait_for(book: Notebook, items: list[Object]) -> None:
    for item in items:
        canary_wait.version(book, item["metadata"]["name"])
