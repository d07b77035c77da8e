"""Claims without a volume, disks on two nodes, and volumes that can't be mounted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from ...cluster import Object, get_in
from ..findings import Finding
from ..snapshot import Snapshot, claims_of, over, statuses
from .common import about, called, event, keys, seen, workload

_MISSING = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
#: Seconds in which a provisioner is expected to deliver, and in which a failed try may still be a hiccup.
_PROVISION, _HICCUP = 120, 20
_MOUNT_PATIENCE = 60


def claims(snap: Snapshot) -> Iterator[Finding]:
    """Claims that don't get their volume, lost ones, and those that pods name in vain."""
    for claim in snap.all("PersistentVolumeClaim"):
        phase = get_in(claim, "status.phase")
        if phase == "Lost":
            cause = f"{called(claim)} has lost its volume {get_in(claim, 'spec.volumeName', '')}; its data are gone."
            evidence = (seen("object", claim, "status.phase is Lost"),)
            marked = about(claim).union(*map(keys, _users(snap, claim)))
            yield Finding("pvc-missing", "error", called(claim), cause, evidence, (snap.context.run("03"),), marked)
        elif phase == "Pending" and (found := _pending(snap, claim)):
            yield found
    if snap.saw("PersistentVolumeClaim"):
        yield from _named_in_vain(snap)


def _users(snap: Snapshot, claim: Object) -> list[Object]:
    return snap.pods_by_claim.get(claim["metadata"]["name"], [])


def _pending(snap: Snapshot, claim: Object) -> Finding | None:
    name = get_in(claim, "spec.storageClassName")
    storage_class = snap.named("StorageClass", name) if name else None
    evidence = [seen("object", claim, f"Pending; class {name or '(none)'}, {_modes(claim)}")]
    failed = snap.events(claim, "ProvisioningFailed", "FailedBinding")
    evidence += [event(claim, each) for each in failed[-1:]]
    waits = get_in(storage_class or {}, "volumeBindingMode") == "WaitForFirstConsumer"
    if name and storage_class is None and snap.saw("StorageClass"):
        known = ", ".join(each["metadata"]["name"] for each in snap.all("StorageClass")) or "none"
        cause = f"There is no StorageClass {name}; there are: {known}."
        fix = (snap.context.run("03", "storage.class=…"), snap.context.kubectl("get storageclasses", None))
    elif failed and (_times(failed[-1]) > 1 or snap.age(claim) > _HICCUP):
        cause = f"The volume can't be provisioned: {failed[-1].get('message', '').strip()}"
        fix = (snap.context.run("03", "storage.class=…", "storage.access_modes.fill=…"), snap.context.run("00"))
    elif waits and not any(pod["spec"].get("nodeName") for pod in _users(snap, claim)):
        return None  # its first consumer decides where
    elif snap.age(claim) > _PROVISION:
        cause = f"No volume for {int(snap.age(claim))} s: the provisioner of class {name or '(none)'} doesn't answer."
        fix = (
            snap.context.kubectl(f"describe pvc {claim['metadata']['name']}"),
            snap.context.kubectl("get pods -A", None) + "  (the provisioner's pods: do they run?)",
        )
        evidence += [event(claim, each) for each in snap.events(claim)[-1:]]
    else:
        return None
    marked = about(claim).union(*map(keys, _users(snap, claim)))
    return Finding("pvc-pending", "error", called(claim), cause, tuple(evidence), fix, marked)


def _modes(claim: Object) -> str:
    return "+".join(get_in(claim, "spec.accessModes") or ())


def _times(found: Object) -> int:
    return int(get_in(found, "series.count") or found.get("count") or 1)


def _named_in_vain(snap: Snapshot) -> Iterator[Finding]:
    for name, pods in snap.pods_by_claim.items():
        if snap.named("PersistentVolumeClaim", name) is None:
            pod = pods[0]
            evidence = [seen("object", pod, f"spec.volumes names the claim {name}, which isn't there")]
            evidence += [event(pod, each) for each in snap.events(pod, "FailedScheduling")[-1:]]
            cause = f"There is no PersistentVolumeClaim {name}."
            marked = frozenset().union(*map(keys, pods)) | {f"PersistentVolumeClaim/{name}"}
            fix = (snap.context.run("03"),)
            yield Finding("pvc-missing", "error", workload(pod), cause, tuple(evidence), fix, marked, len(pods))


def volumes(snap: Snapshot) -> Iterator[Finding]:
    """Pods that have a node and wait for a volume."""
    for pod in snap.all("Pod"):
        if over(pod) or not pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            continue
        if any("running" in status.get("state", {}) or status.get("restartCount") for status in statuses(pod)):
            continue
        if get_in(pod, "status.phase") == "Pending" and (found := _volume(snap, pod)):
            yield found


def _volume(snap: Snapshot, pod: Object) -> Finding | None:
    attach = [each for each in snap.events(pod, "FailedAttachVolume")]
    multi = [each for each in attach if "Multi-Attach error" in each.get("message", "")]
    if multi and attach[-1] is multi[-1]:
        return _multi_attach(snap, pod, multi[-1])
    failed = snap.events(pod, "FailedMount", "FailedAttachVolume", "FailedMapVolume")
    if not failed or (_times(failed[-1]) < 3 and snap.age(pod) < _MOUNT_PATIENCE):
        return None
    message = failed[-1].get("message", "").strip()
    code, fix = "mount-failed", (snap.context.kubectl(f"describe pod {pod['metadata']['name']}"),)
    if "hostPath type check failed" in message:
        code, fix = "weights-missing", (snap.context.run("03") + "  (fills the directory of every node)",)
    marked = keys(pod) | {f"PersistentVolumeClaim/{claim}" for claim in claims_of(pod)}
    cause = f"The kubelet can't set up a volume: {message}"
    return Finding(code, "error", workload(pod), cause, (event(pod, failed[-1]),), fix, marked)


def _multi_attach(snap: Snapshot, pod: Object, found: Object) -> Finding:
    names = claims_of(pod)
    owned = [claim for name in names if (claim := snap.named("PersistentVolumeClaim", name)) is not None]
    volume = re.search(r'for volume "([^"]+)"', found["message"])
    concerned = [claim for claim in owned if volume and get_in(claim, "spec.volumeName") == volume[1]] or owned
    evidence = [event(pod, found), *(seen("object", claim, f"access modes {_modes(claim)}") for claim in concerned[:2])]
    others = (
        f"{other['metadata']['name']} on {other['spec'].get('nodeName')}"
        for claim in concerned
        for other in _users(snap, claim)
        if other["spec"].get("nodeName") not in ("", None, pod["spec"]["nodeName"])
    )
    holders = ", ".join(islice(others, 3))
    cause = (
        f"The disk of {', '.join(called(claim) for claim in concerned) or 'the claim'} can be attached to one node "
        f"only, and the pod went to {pod['spec']['nodeName']}"
        + (f" while it is held by {holders}." if holders else ".")
    )
    fix = (
        snap.context.run("03", "storage.class=…", "storage.strategy=shared") + "  (a read-write-many class)",
        "-p storage.strategy=prefilled  (fill one disk, then read-only copies for many nodes)",
        snap.context.kubectl("get volumeattachments", None) + "  (which node holds it)",
    )
    marked = keys(pod) | {f"PersistentVolumeClaim/{name}" for name in names}
    return Finding("multi-attach", "error", workload(pod), cause, tuple(evidence), fix, marked)
