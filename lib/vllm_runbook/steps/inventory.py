"""Every object that the notebooks leave in place, computed from the parameters alone: no cluster is asked.

The objects come from the functions that the steps themselves plan with, so the two can't differ. They are as the steps
plan them: without the labels by which this runbook knows its own, which ``cluster.plan`` adds.

>>> from vllm_runbook import params
>>> [entry.object["kind"] for entry in inventory(params.load("sandbox", "tiny"), ["07_disruption"])]
['PodDisruptionBudget']
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .. import sizing as sizes
from ..cluster import Object, Ref, in_order, ref_of
from ..errors import RunbookError
from ..params import Params, Platform
from ..params.canary import Canary
from ..permissions import LASTING
from ..sizing import Sizing
from . import autoscaling, canary, deploy, device_plugin, disruption, keda, observability, provisioning, spot, weights
from . import router as routers
from . import served_models as models

_MODELS = "13_multi_model"


@dataclass(frozen=True)
class Entry:
    """One object, and the notebook that applies it."""

    notebook: str
    object: Object


@dataclass(frozen=True)
class Missing:
    """Something that a notebook leaves in place, or needs, and that can't be computed; and why.

    Attributes:
        failed: it could be, and this time that failed.
    """

    notebook: str
    what: str
    why: str
    failed: bool = False


class Inventory(list[Entry]):
    """Entries in the order in which they are applied.

    Attributes:
        missing: what belongs to them and isn't there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missing: list[Missing] = []

    @property
    def objects(self) -> list[Object]:
        """Only the objects."""
        return [entry.object for entry in self]


def inventory(params: Params, notebooks: Iterable[str] | None = None) -> Inventory:
    """What the notebooks leave in place on this platform with this model.

    A rehearsal's objects (load generators, the usual guide's deployment, crowds, drills) aren't among them: they come
    and go, whatever is in place. A chart is rendered as its notebook does it; where that fails (no helm, no network) it
    is ``missing``, with the reason.

    Args:
        notebooks: only those of these notebooks; by default of all.
    """
    found, known = Inventory(), set[Ref]()
    sizing = sizes.size(params)
    wanted = set(LASTING) if notebooks is None else set(notebooks)
    for name in LASTING:
        for part in STEPS[name] if name in wanted else ():
            try:
                # as the steps plan each group: what others need comes first; what an earlier one leaves is that one's
                items = [item for item in in_order(part(params, sizing)) if ref_of(item) not in known]
            except RunbookError as error:
                found.missing.append(Missing(name, _failing(name, params.platform), str(error), failed=True))
                continue
            found += [Entry(name, item) for item in items]
            known.update(map(ref_of, items))
    found.missing += [each for each in _never(params) if each.notebook in wanted]
    found.missing += of_registry(params) if params.platform.registry and _MODELS in wanted else []
    return found


_Part = Callable[[Params, Sizing], list[Object]]


def _of_platform(part: Callable[[Platform], list[Object]]) -> _Part:
    return lambda params, _: part(params.platform)


def _spot(params: Params, sizing: Sizing) -> list[Object]:
    return spot.objects(params, sizing) if params.platform.spot is not None else []


def _definitions(params: Params, _sizing: Sizing) -> list[Object]:
    return canary.program(params.platform)


def _way_in(params: Params, sizing: Sizing) -> list[Object]:
    return canary.way_in(params, sizing)


def _of_registry(part: Callable[[Params], list[Object]]) -> _Part:
    return lambda params, _: part(params) if params.platform.registry else []


def _models_namespace(params: Params) -> list[Object]:
    return [weights.namespace_object(models.there(params.platform))]


#: What each notebook of LASTING plans, group by group.
STEPS: dict[str, tuple[_Part, ...]] = {
    "01_device_plugin": (_of_platform(device_plugin.objects),),
    "02_label_gpu_nodes": (),
    "03_storage_weights": (
        _of_platform(lambda platform: [weights.namespace_object(platform)]),
        weights.objects,
        weights.copies,
    ),
    "04_deploy_vllm": (deploy.objects,),
    "05_observability": (lambda params, _: observability.objects(params),),
    "06_autoscaling": (_of_platform(keda.objects), lambda params, _: [autoscaling.scaled_object(params)]),
    "07_disruption": (_of_platform(lambda platform: [disruption.budget(platform)]),),
    "08_spot": (_of_platform(provisioning.objects), _of_platform(provisioning.pools), _spot),
    "11_canary": (_definitions, _way_in),
    "13_multi_model": (
        _of_registry(_models_namespace),
        _of_registry(models.weight_objects),
        _of_registry(models.server_objects),
        _of_registry(routers.objects),
        _of_registry(models.scaled_objects),
    ),
}


def _failing(notebook: str, platform: Platform) -> str:
    """What a notebook couldn't compute: the chart that it installs, or a registry's models."""
    plugin, scaler = platform.device_plugin, platform.autoscaling
    charts = {
        "01_device_plugin": f"chart {plugin.chart} {plugin.version}",
        "06_autoscaling": f"chart keda {scaler.version} of {scaler.repo}",
        _MODELS: f"the models of registry {platform.registry}",
    }
    return charts.get(notebook, "its objects")


def _never(params: Params) -> list[Missing]:
    """What only the cluster, or nobody but a person, knows."""
    platform, model = params.platform, params.model
    label, secret = platform.gpu.node_label, platform.hub.token_secret
    found = [
        Missing(
            "02_label_gpu_nodes",
            f"label {label.key}={label.value} of the GPU nodes",
            "which nodes have GPUs only the cluster knows",
        )
    ]
    if platform.device_plugin.mode == "managed":
        found.append(
            Missing("01_device_plugin", "device plugin", "the platform brings it (device_plugin.mode managed)")
        )
    if model.gated:
        why = f"{model.hub_id} is gated: the token comes from the environment (HF_TOKEN), and is nobody's parameter"
        found.append(Missing("03_storage_weights", f"Secret {platform.namespace}/{secret.name}", why))
    if platform.api_key.enabled:
        why = "the API key is made at random, or comes from the environment (VLLM_API_KEY)"
        found.append(Missing("04_deploy_vllm", f"Secret {platform.namespace}/{platform.api_key.secret.name}", why))
    if platform.metrics.install == "existing":
        found.append(Missing("05_observability", "Prometheus", "the cluster has one (metrics.install existing)"))
    if platform.autoscaling.install == "existing":
        found.append(Missing("06_autoscaling", "KEDA", "the cluster has it (autoscaling.install existing)"))
    if platform.provisioning.install == "existing":
        found.append(Missing("08_spot", "Karpenter", "the cluster has it (provisioning.install existing)"))
    if platform.spot is None:
        found.append(Missing("08_spot", "servers on spot nodes", "the platform has none (spot is null)"))
    if platform.canary is None:
        found.append(Missing("11_canary", "a way in", "the platform has none (canary is null)"))
    else:
        found += _never_of_gateway(platform.canary)
    if not platform.registry:
        found.append(Missing(_MODELS, "models of a registry", "the platform names none (registry is null)"))
    return sorted(found, key=lambda each: each.notebook)


def _never_of_gateway(chosen: Canary) -> list[Missing]:
    gateway, found = chosen.gateway, []
    if gateway.install == "existing":
        what = "Istio" if chosen.engine == "istio" else "the Gateway API's definitions, and a controller"
        found.append(Missing("11_canary", what, "the cluster has it (canary.gateway.install existing)"))
    if not gateway.create:
        why = "the cluster has it (canary.gateway.create false)"
        found.append(Missing("11_canary", f"Gateway {gateway.namespace}/{gateway.name}", why))
    return found


def of_registry(params: Params) -> list[Missing]:
    """Secrets that a registry's models need.

    Raises:
        ParamsError: the registry has a mistake, or the platform names none.
    """
    platform, found = models.there(params.platform), []
    if platform.api_key.enabled:
        why = "the API key is made at random, or comes from the environment (VLLM_API_KEY)"
        found.append(Missing(_MODELS, f"Secret {platform.namespace}/{platform.api_key.secret.name}", why))
    if gated := [each.served.model.hub_id for each in models.servers(params) if each.served.model.gated]:
        why = f"{', '.join(gated)}: gated, and the token comes from the environment (HF_TOKEN)"
        found.append(Missing(_MODELS, f"Secret {platform.namespace}/{platform.hub.token_secret.name}", why))
    return found
