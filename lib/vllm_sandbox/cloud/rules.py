"""How each cloud takes a spot instance back. Every sentence of these rules is a vendor's; the timing is theirs, too."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

#: Annotation on a Node that orders its reclaim: a cloud's name, and a notice in seconds if not the cloud's own
#: (``gcp``, ``aws 30``).
RECLAIM = "sandbox.vllm-runbook.dev/reclaim"


@dataclass(frozen=True)
class Rules:
    """One cloud's way.

    Attributes:
        notice_s: between the warning and the end of the machine.
        drains: somebody cordons the node and evicts its pods on the warning, asking their budgets.
        shutdown_s: so long before the end the kubelet begins its graceful node shutdown, which asks no budget.
            0: it never learns of it.
        ordinary_s: what pods get of that; the rest belongs to system-critical ones.
        cordon_taint: key of a taint that the cloud's own drain sets besides.
    """

    notice_s: float
    drains: bool = False
    shutdown_s: float = 0
    ordinary_s: float = 0
    cordon_taint: str = ""

    def with_notice(self, seconds: float) -> Rules:
        """The same with another notice; a shutdown can't begin before the warning, and keeps its proportions."""
        shutdown = min(self.shutdown_s, seconds)
        ordinary = self.ordinary_s * shutdown / self.shutdown_s if self.shutdown_s else 0
        return dataclasses.replace(self, notice_s=seconds, shutdown_s=shutdown, ordinary_s=ordinary)


CLOUDS = {
    # two minutes; Karpenter or the node termination handler drains (EC2 user guide; Karpenter, "Interruption")
    "aws": Rules(120, drains=True),
    # 30 s, all of it graceful node shutdown, of which ordinary pods get 15 (GKE, "Spot VMs")
    "gcp": Rules(30, shutdown_s=30, ordinary_s=15),
    # 30 s between the event Preempt and the end; AKS cordons and drains, best effort (AKS, "Node auto-drain"). What a
    # budget held back ends with the machine's own shutdown.
    "azure": Rules(
        30, drains=True, shutdown_s=15, ordinary_s=12, cordon_taint="remediator.kubernetes.azure.com/unschedulable"
    ),
    # a host that breaks
    "unannounced": Rules(0),
}
"""The rules by the clouds' names."""


def parse(order: str) -> tuple[str, Rules]:
    """The cloud and its rules that an annotation's value asks for.

    Raises:
        ValueError: with what is allowed.
    """
    cloud, _, notice = order.strip().partition(" ")
    if cloud not in CLOUDS:
        raise ValueError(f"{cloud!r} is no cloud: {', '.join(CLOUDS)}")
    if not notice:
        return cloud, CLOUDS[cloud]
    try:
        seconds = float(notice)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 3600:
        raise ValueError(f"{notice!r} is no notice: seconds from 0 to 3600")
    return cloud, CLOUDS[cloud].with_notice(seconds)
