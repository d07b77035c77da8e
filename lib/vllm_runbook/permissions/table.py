"""Titles of the notebooks, and the least permissions that each needs; asked for before it starts."""

from __future__ import annotations

from collections.abc import Callable

from ..cluster import Rule
from ..params import Platform
from .autoscaling import autoscaling
from .canary import canary
from .diagnosis import diagnosis
from .disruption import disruption, spot
from .drills import drills
from .locking import changes, lock
from .multi_model import multi_model
from .observability import observability
from .serving import deploy, device_plugin, gpu_nodes, preflight, weights
from .teardown import teardown
from .verify import verify

TITLES = {
    "00_preflight": "Preflight",
    "01_device_plugin": "Device plugin",
    "02_label_gpu_nodes": "GPU node labels",
    "03_storage_weights": "Storage and weights",
    "04_deploy_vllm": "vLLM deployment",
    "05_observability": "Observability",
    "06_autoscaling": "Autoscaling",
    "07_disruption": "Disruption and rolling updates",
    "08_spot": "Spot nodes",
    "09_diagnosis": "Diagnosis",
    "10_teardown": "Teardown",
    "11_canary": "Canary",
    "12_gitops": "GitOps",
    "13_multi_model": "Several models",
    "20_onboarding": "Onboarding",
    "30_verify": "Verify",
}

#: Notebooks that leave something in place, in the order in which they do (steps.inventory has what).
LASTING = (
    "01_device_plugin",
    "02_label_gpu_nodes",
    "03_storage_weights",
    "04_deploy_vllm",
    "05_observability",
    "06_autoscaling",
    "07_disruption",
    "08_spot",
    "11_canary",
    "13_multi_model",
)


def _gitops(platform: Platform) -> list[Rule]:
    """To read, and to apply in a dry run, what the notebooks leave in place."""
    asked = [rule for name in LASTING for rule in _TABLE[name](platform)]
    verbs, others = ("get", "create", "patch", "escalate", "bind"), ("nodes", "pods", "secrets")
    kept = [each for each in asked if each.verb in verbs and not each.subresource and each.resource not in others]
    return list(dict.fromkeys(kept))


_TABLE: dict[str, Callable[[Platform], list[Rule]]] = {
    "00_preflight": preflight,
    "01_device_plugin": device_plugin,
    "02_label_gpu_nodes": gpu_nodes,
    "03_storage_weights": weights,
    "04_deploy_vllm": deploy,
    "05_observability": observability,
    "06_autoscaling": autoscaling,
    "07_disruption": disruption,
    "08_spot": spot,
    "09_diagnosis": diagnosis,
    "10_teardown": teardown,
    "11_canary": canary,
    "12_gitops": _gitops,
    "13_multi_model": multi_model,
    "20_onboarding": drills,
    "30_verify": verify,
}


def permissions(step: str, platform: Platform) -> list[Rule]:
    """Everything that a notebook asks of the API server, as RBAC rules; the Lease, too, if it changes something."""
    found = _TABLE[step](platform)
    return [*found, *lock(platform)] if changes(found) else found


def changes_something(step: str, platform: Platform) -> bool:
    """Whether a notebook may change anything on this platform."""
    return changes(_TABLE[step](platform))
