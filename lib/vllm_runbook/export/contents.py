"""What is exported: the objects of the inventory, as the runbook labels them, in layers that can be applied in turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..cluster import Object, Ref, marked, ref_of
from ..errors import RunbookError
from ..params import Params
from ..steps import weights
from ..steps.inventory import Missing, inventory

#: In order: each needs the one before it, the last one complete weights.
LAYERS = ("infrastructure", "weights", "serving")
MEANING = {
    "infrastructure": "namespaces, CustomResourceDefinitions, and the programs that the cluster needs once",
    "weights": "the volume and the prefetch that fills it and checks every file",
    "serving": "servers, their Service, autoscaler and budget; where weights are copied, the copy",
}
_FIRST = {
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "APIService",
}
#: What does without something that failed.
_WITHOUT_CHARTS = "Without charts: -p device_plugin.mode=manifest -p autoscaling.install=manifest"
_WITHOUT = {"13_multi_model": "Without the registry: -p registry=null"}
#: Ending of the built-in API groups that have a dot.
_BUILT_IN = ".k8s.io"
#: A group with that ending whose kinds come from definitions all the same.
_DEFINED = "gateway.networking.k8s.io"


@dataclass(frozen=True)
class Item:
    """One object, the notebook that applies it, and its layer."""

    notebook: str
    layer: str
    object: Object

    @property
    def key(self) -> tuple[str, Ref]:
        """What must agree for two platforms' objects to be the same one."""
        return self.layer, ref_of(self.object)


@dataclass(frozen=True)
class Contents:
    """Everything of one platform.

    Attributes:
        missing: what belongs to it and isn't exported: Secrets, node labels, what the cluster must have.
    """

    params: Params
    items: list[Item]
    missing: list[Missing] = field(default_factory=list)

    @property
    def platform(self) -> str:
        """Name of the overlay."""
        return self.params.platform.name

    @property
    def layers(self) -> list[str]:
        """The layers that have anything, in order."""
        return [layer for layer in LAYERS if self.of(layer)]

    def of(self, layer: str) -> list[Item]:
        """The items of one layer."""
        return [item for item in self.items if item.layer == layer]


def contents(params: Params, notebooks: Sequence[str] | None = None) -> Contents:
    """What the notebooks leave in place, ready to be written down. Secrets never are: only that they must exist.

    Args:
        notebooks: only those of these notebooks; by default of all.

    Raises:
        RunbookError: a chart can't be rendered, or the registry's models can't be served on this platform: a tree
            without their objects would remove them from the cluster.
    """
    found = inventory(params, notebooks)
    if failed := [each for each in found.missing if each.failed]:
        raise RunbookError(
            f"{params.platform.name}: {failed[0].what} can't be exported",
            why="\n".join(each.why for each in failed),
            next_step=f"Nothing was written. {_WITHOUT.get(failed[0].notebook, _WITHOUT_CHARTS)}",
        )
    items = [
        Item(entry.notebook, layer(params, entry.notebook, entry.object), marked(entry.object, entry.notebook))
        for entry in found
        if entry.object["kind"] != "Secret"
    ]
    secrets = [
        Missing(entry.notebook, str(ref_of(entry.object)), "values of Secrets are never exported")
        for entry in found
        if entry.object["kind"] == "Secret"
    ]
    return Contents(params, items, [*found.missing, *secrets, *_gated(params, found.missing)])


def _gated(params: Params, missing: Iterable[Missing]) -> list[Missing]:
    """The token's Secret is optional for other models; said, so that nobody looks for it."""
    secret, namespace = params.platform.hub.token_secret, params.platform.namespace
    name = f"Secret {namespace}/{secret.name}"
    if any(each.what == name for each in missing):
        return []
    return [Missing("03_storage_weights", f"{name} (optional)", "needed for gated models only")]


def layer(params: Params, notebook: str, item: Object) -> str:
    """The layer of an object: by its kind, its group and its namespace."""
    platform, kind = params.platform, item["kind"]
    if kind in _FIRST:
        return "infrastructure"
    group = item["apiVersion"].rpartition("/")[0]
    if "." in group and (group == _DEFINED or not group.endswith(_BUILT_IN)):
        return "serving"
    if item["metadata"].get("namespace", "") not in (platform.namespace, platform.models_namespace, ""):
        return "infrastructure"
    filled = weights.fill_claim(platform)
    if kind in ("Job", "DaemonSet") or (kind == "PersistentVolumeClaim" and item["metadata"]["name"] == filled):
        return "weights"
    return "serving"
