"""Titles of the notebooks, and the least permissions that each needs; asked for before it starts."""

from __future__ import annotations

from collections.abc import Callable

from ..cluster import Rule
from ..params import Platform
from .autoscaling import autoscaling
from .diagnosis import diagnosis
from .disruption import disruption, spot
from .drills import drills
from .observability import observability
from .serving import deploy, device_plugin, gpu_nodes, preflight, weights
from .teardown import teardown

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
    "20_onboarding": "Onboarding",
}


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
    "20_onboarding": drills,
}


def permissions(step: str, platform: Platform) -> list[Rule]:
    """Everything that a notebook asks of the API server, as RBAC rules."""
    return _TABLE[step](platform)
