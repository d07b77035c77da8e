"""``runbook schedule``: a CronJob that verifies, with its account, its roles and a claim for its reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from .. import cluster as k8s
from ..cluster import Object, Plan, Ref
from ..cluster.ownership import created
from ..errors import RunbookError
from ..manifests import manifests
from ..notebook import Notebook
from ..params import Params
from ..permissions.roles import namespaces
from ..permissions.schedule import schedule
from . import rbac

STEP, NAME, CLAIM = "30_verify", "runbook-verify", "runbook-results"
_FILES = {"platform": "platform.yaml", "model": "model.yaml"}


@dataclass(frozen=True)
class Wishes:
    """What differs from the manifest.

    Attributes:
        cron: when, in the five fields of a CronJob, in UTC.
        output: an object store, besides the claim.
        roles: whether the roles are made here; otherwise an administrator has applied ``runbook roles verify``.
    """

    cron: str = "17 3 * * *"
    keep: int = 30
    output: str | None = None
    applied: str = ""
    roles: bool = True


def objects(params: Params, wishes: Wishes) -> list[Object]:
    """Everything, for this platform and model."""
    platform = params.platform
    container = "spec.jobTemplate.spec.template.spec.containers[0]"
    found = []
    for item in manifests("scheduled/verify.yaml"):
        fields: dict[str, Any] = {"metadata.namespace": platform.namespace}
        if item["kind"] == "CronJob":
            fields["spec.schedule"] = wishes.cron
            fields[f"{container}.image"] = platform.image(platform.images.runbook)
            fields[f"{container}.args"] = _arguments(k8s.get_in(item, f"{container}.args"), wishes)
        elif item["kind"] == "ConfigMap":
            fields["data"] = _parameters(params)
        elif item["kind"] == "PersistentVolumeClaim":
            fields["spec.resources.requests.storage"] = platform.results.size
            fields["spec.storageClassName"] = platform.results.class_name
        found.append(k8s.changed(item, fields))
    if wishes.roles:
        for step in rbac.VERIFY:
            found += rbac.objects(step, platform, NAME, platform.namespace)
    return found


def _arguments(args: Sequence[str], wishes: Wishes) -> list[str]:
    kept = [f"--keep={wishes.keep}" if arg.startswith("--keep=") else arg for arg in args]
    kept += [f"--output={wishes.output}"] if wishes.output else []
    return kept + ([f"--applied={wishes.applied}"] if wishes.applied else [])


def _parameters(params: Params) -> dict[str, str]:
    """Both files as they are after overrides; the pod reaches the API server by its own account."""
    kubernetes = params.platform.kubernetes
    inside = kubernetes.model_copy(update={"context": kubernetes.pod_context, "kubeconfig": None})
    platform = params.platform.model_copy(update={"kubernetes": inside})
    documents = {"platform": platform, "model": params.model}
    return {
        _FILES[name]: yaml.safe_dump(part.model_dump(mode="json", by_alias=True), sort_keys=False)
        for name, part in documents.items()
    }


def plans(book: Notebook, wishes: Wishes) -> Iterator[Plan]:
    """Previews, each to be applied before the next: the namespaces first, then the server can check what is in them.

    Raises:
        RunbookError: rights are missing, also those that the roles are to grant.
    """
    platform = book.params.platform
    missing = k8s.refused(book.cluster, schedule(platform, rbac.VERIFY if wishes.roles else ()))
    if missing:
        raise RunbookError(
            f"Scheduling needs {len(missing)} permissions that you don't have in {book.cluster.context}",
            why="\n".join(f"may not {rule}" for rule in missing),
            next_step=(
                "Let an administrator apply the roles, then schedule without them:\n"
                f"runbook roles verify --platform {platform.name} --service-account {NAME} | kubectl apply -f -\n"
                "runbook schedule --no-roles …"
            ),
        )
    steps = rbac.VERIFY if wishes.roles else ()
    spaces = rbac.spaces(steps, platform, platform.namespace)
    # one that is there stays as it is: other notebooks have set more of it than is known here
    yield book.plan(item for item in spaces if book.cluster.find(k8s.ref_of(item)) is None)
    yield book.plan(_without_theirs(book, objects(book.params, wishes), wishes))


def _without_theirs(book: Notebook, items: list[Object], wishes: Wishes) -> list[Object]:
    """Without roles the account is the administrator's, too, if they made it."""
    if wishes.roles:
        return items
    account = book.cluster.find(Ref("ServiceAccount", NAME, book.namespace))
    theirs = account is not None and not k8s.is_ours(account)
    return [item for item in items if not (theirs and item["kind"] == "ServiceAccount")]


def remove(book: Notebook, *, results: bool) -> list[Ref]:
    """Take everything away again that ``schedule`` made here; the claim with the reports only when asked to."""
    platform = book.params.platform
    spaces = [platform.namespace, *namespaces(rbac.VERIFY, platform)]
    kinds = ["ServiceAccount", "ConfigMap", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "CronJob"]
    kinds += ["PersistentVolumeClaim"] if results else []
    found = created(book.cluster, kinds, dict.fromkeys(spaces), STEP)
    return k8s.delete(book.cluster, list(found))


def farewell(book: Notebook, *, preview: bool) -> str:
    """What to do next."""
    if preview:
        return "nothing was changed: --preview"
    return (
        f"now: kubectl -n {book.namespace} create job --from=cronjob/{NAME} verify-now\n"
        f"its summary: kubectl -n {book.namespace} logs job/verify-now | tail -n 1"
    )
