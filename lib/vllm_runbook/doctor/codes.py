"""Every kind of trouble that the doctor knows by name. The names are stable: tickets and alerts carry them."""

from __future__ import annotations

from dataclasses import dataclass

_GPU, _LABEL, _WEIGHTS, _DEPLOY = "01_device_plugin", "02_label_gpu_nodes", "03_storage_weights", "04_deploy_vllm"
_SCALE, _DISRUPTION, _PREFLIGHT = "06_autoscaling", "07_disruption", "00_preflight"


@dataclass(frozen=True)
class Code:
    """One kind of trouble.

    Attributes:
        meaning: one sentence.
        notebook: the one that explains it and can mend or avoid it.
        symptom: it is a consequence wherever another finding is about the same object.
        hides: codes that are consequences of this one on the same object, though they stand for themselves elsewhere.
    """

    meaning: str
    notebook: str
    symptom: bool = False
    hides: frozenset[str] = frozenset()


def _symptom(meaning: str, notebook: str) -> Code:
    return Code(meaning, notebook, symptom=True)


CODES: dict[str, Code] = {
    # GPUs and the scheduler
    "gpu-no-plugin": Code("nodes have GPUs, but no device plugin offers them to the scheduler", _GPU),
    "gpu-no-nodes": Code("no node of the cluster has or had a GPU", _PREFLIGHT),
    "gpu-no-label": Code("nodes offer GPUs, but none matches the pod's node selector or affinity", _LABEL),
    "gpu-taint": Code("nodes with matching GPUs have a taint that the pod doesn't tolerate", _DEPLOY),
    "gpu-in-use": Code("every GPU that the pod could have is taken", _DEPLOY),
    "does-not-fit": Code("no node is large enough for one pod: GPUs, CPU or memory", _PREFLIGHT),
    "node-cordoned": Code("the only nodes for the pod are cordoned", _DISRUPTION),
    "pod-preempted": Code(
        "the scheduler ended a pod to make room for one of higher priority",
        _DISRUPTION,
        hides=frozenset({"gpu-in-use", "does-not-fit"}),
    ),
    "pod-refused": Code("the API server refuses the workload's pods: quota, Pod Security, admission", _DEPLOY),
    "unschedulable": _symptom("the scheduler finds no node, for another reason", _DEPLOY),
    # starting vLLM
    "host-oom": Code("the kernel ended a container that used more host memory than its limit", _DEPLOY),
    "cuda-oom": Code("the GPU's memory doesn't hold what the server allocates", _PREFLIGHT),
    "kv-cache-too-small": Code("too little GPU memory is left for a KV cache of max_model_len", _PREFLIGHT),
    "bad-flag": Code("the server doesn't know a flag or its value and exits with code 2", _DEPLOY),
    "bad-config": Code("the server refuses its configuration: context length, parallelism", _PREFLIGHT),
    "lora-adapter": Code("an adapter isn't there, or larger than the server makes room for", "13_multi_model"),
    "service-links": Code("a Service called vllm puts VLLM_PORT=tcp://… into the pods", _DEPLOY),
    "weights-missing": Code("the model isn't where the server looks for it", _WEIGHTS),
    "slow-load-killed": Code("a probe ends the server before its weights are loaded", _DEPLOY),
    "liveness-killed": Code("the liveness probe ends a server that had started", _DEPLOY),
    "config-missing": Code("a Secret, ConfigMap or key that the container names isn't there", _DEPLOY),
    "cannot-start": Code("the container runtime can't start the container's command", _DEPLOY),
    "crash-loop": Code("a container ends again and again, for no reason that is known here", _DEPLOY),
    # images
    "image-name": Code("the registry has no such image or tag", _DEPLOY),
    "image-auth": Code("the registry refuses the pull: no, or wrong, credentials", _DEPLOY),
    "image-rate-limit": Code("the registry answers 429: too many pulls", _DEPLOY),
    "image-registry": Code("the node can't reach the registry, or it fails", _DEPLOY),
    # weights and volumes
    "hub-timeout": Code("the model hub can't be reached, or not in time", _WEIGHTS),
    "hub-auth": Code("the model hub wants a token, or refuses the one it got (401)", _WEIGHTS),
    "hub-forbidden": Code("the token's owner has no access to the gated model (403)", _WEIGHTS),
    "hub-not-found": Code("the model hub has no such model or revision", _WEIGHTS),
    "hub-rate-limit": Code("the model hub answers 429: too many requests", _WEIGHTS),
    "volume-full": Code("the volume has no room for the weights", _WEIGHTS),
    "pvc-pending": Code("a claim gets no volume", _WEIGHTS),
    "pvc-missing": Code("a pod names a claim that isn't there, or whose volume is lost", _WEIGHTS),
    "volume-zone": Code(
        "the volume is in another zone (or on another node) than those that the pod may go to", _WEIGHTS
    ),
    "multi-attach": Code("a disk for one node is wanted on a second one", _WEIGHTS),
    "read-only-volume": Code("something wants to write to a volume that is mounted read-only", _WEIGHTS),
    "volume-permission": Code("the volume's files belong to another user than the pod's", _WEIGHTS),
    "mount-failed": Code("the kubelet can't mount a volume of the pod", _WEIGHTS),
    "job-failed": _symptom("a Job gave up", _WEIGHTS),
    # autoscaling
    "scaledobject-not-ready": Code(
        "KEDA doesn't accept the ScaledObject, or can't run its triggers", _SCALE, hides=frozenset({"hpa-no-metric"})
    ),
    "hpa-no-metric": Code("the HPA can't read its metric, and so never scales", _SCALE),
    "hpa-no-target": Code("the HPA can't find or scale what it points at", _SCALE),
    # disruption, nodes
    "pdb-blocks-drain": Code("a PodDisruptionBudget can never allow an eviction", _DISRUPTION),
    "node-not-ready": Code(
        "a node doesn't report, or reports that it isn't well",
        _DISRUPTION,
        hides=frozenset({"gpu-in-use", "gpu-no-plugin", "node-cordoned", "pod-preempted"}),
    ),
    "node-pressure": Code("a node runs out of disk, memory or process ids", _DISRUPTION),
    "policy-blocks": Code("NetworkPolicies let nobody, or not Prometheus, reach a Service's pods", _DEPLOY),
    # API versions
    "deprecated-api": Code("objects are written in an API version that is deprecated or gone", _PREFLIGHT),
    # what is left when nothing else explains it
    "not-ready": _symptom("a container runs and doesn't become ready", _DEPLOY),
    "stuck-creating": _symptom("a container isn't created, for minutes", _DEPLOY),
    "stuck-terminating": _symptom("a pod is still there long after its grace period", _DISRUPTION),
    "rollout-stuck": _symptom("a Deployment doesn't get its replicas", _DEPLOY),
    "no-endpoints": _symptom("a Service has nothing to send requests to", _DEPLOY),
}
