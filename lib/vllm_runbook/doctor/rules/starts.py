"""What the last lines of a container's log mean: vLLM's start-up errors, and the model hub's refusals.

vLLM's words are those of its recordings (0.32) and of its sources; the hub's those of huggingface_hub and of this
runbook's prefetch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..context import Context


@dataclass(frozen=True)
class Known:
    """One error that a log line tells.

    Attributes:
        pattern: found in the line; its named groups fill ``cause`` and ``fix``.
        weak: runs tell it that go on (a retry, a cache that can't be written), so that any other error beats it, and it
            counts only near the end.
    """

    code: str
    pattern: re.Pattern[str]
    cause: str
    fix: tuple[str, ...]
    weak: bool = False


def _known(code: str, pattern: str, cause: str, *fix: str, weak: bool = False) -> Known:
    return Known(code, re.compile(pattern, re.I), cause, fix, weak)


_FITS = "{run:00}  (what would fit, sized)"
_TOKEN = "HF_TOKEN=… {run:03}  (writes the Secret {token_secret})"
_READ_ONLY = (
    "{run:03}  (the Job writes to its claim read-write; servers mount it read-only)",
    "-p storage.access_modes.fill=ReadWriteMany  (ReadOnlyMany can never be filled)",
)
#: Lines at the end of a log among which a weak error counts: as long as a traceback.
_NEAR = 60
#: The first that matches a line, from the first line on, is the root: what follows it in a log are its consequences.
KNOWN: tuple[Known, ...] = (
    _known(
        "bad-flag",
        r"error: (?P<what>unrecognized arguments: .*|argument \S+: .*|ambiguous option: .*|the following arguments .*)",
        "The server doesn't accept its arguments and exits at once: {what}",
        "take the flag out of extra_args: {run:04} -p 'extra_args=[]'",
        "{kubectl:describe deployments}  (what it is given)",
    ),
    _known(
        "lora-adapter",
        r"LoRA rank (?P<rank>\d+) is greater than max_lora_rank (?P<most>\d+)",
        "An adapter has rank {rank}, and the server makes room for rank {most}.",
        "rank: {rank} for this adapter in the registry (params/registry), then {run:13}",
    ),
    _known(
        "lora-adapter",
        r"Loading lora (?P<name>\S+) failed: No adapter found for (?P<path>\S+)",
        "The adapter {name} isn't at {path}.",
        "{run:13}  (its prefetch Jobs bring every adapter of the registry)",
    ),
    _known(
        "lora-adapter",
        r"LoRA is not enabled",
        "The server was given adapters (--lora-modules) without --enable-lora.",
        "{run:13}  (sets both)",
    ),
    _known(
        "service-links",
        r"VLLM_PORT '?(?P<what>tcp://\S+?)'? appears to be a URI",
        "A Service called vllm makes Kubernetes set VLLM_PORT={what}, which the server reads as its port.",
        "rename the Service, or set enableServiceLinks: false in the pod: {run:04}",
    ),
    _known(
        "cuda-oom",
        r"CUDA out of memory\. Tried to allocate (?P<what>[\d.]+ \w+)",
        "The weights and buffers need more memory than the GPU has; allocating {what} failed.",
        _FITS,
        "{run:04} -p tensor_parallel_size=2",
        "{run:04} -p max_num_seqs=64  (smaller activations)",
    ),
    _known(
        "cuda-oom",
        r"Free memory on device .*is less than desired GPU memory utilization",
        "Another process holds memory of this GPU: less is free than gpu_memory_utilization asks for.",
        "{run:04} -p gpu_memory_utilization=0.8",
        "nvidia-smi on the node  (who else is on the GPU)",
    ),
    _known("cuda-oom", r"CUDA error: out of memory", "The GPU's memory is used up.", _FITS),
    _known(
        "kv-cache-too-small",
        r"max seq len \((?P<length>\d+)\),? \(?(?P<needed>[\d.]+ GiB) KV cache is needed.*?"
        r"\((?P<there>[\d.]+ GiB)\)(?:.*?estimated maximum model length is (?P<most>\d+))?",
        "One request of max_model_len {length} needs {needed} of KV cache, and {there} are left.",
        "{run:04} -p max_model_len={most}",
        "{run:04} -p kv_cache_dtype=fp8  (half the bytes per token)",
        _FITS,
    ),
    _known(
        "kv-cache-too-small",
        r"No available memory for the cache blocks",
        "Nothing of the GPU's memory is left for a KV cache once the weights and activations are in it.",
        _FITS,
        "{run:04} -p tensor_parallel_size=2",
        "{run:04} -p gpu_memory_utilization=0.95",
    ),
    _known(
        "bad-config",
        r"User-specified max_model_len \((?P<length>\d+)\) is greater than the derived max_model_len "
        r"\(max_position_embeddings=(?P<most>\d+)",
        "max_model_len {length} is longer than the model's own {most}.",
        "{run:04} -p max_model_len={most}",
    ),
    _known(
        "bad-config",
        r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size "
        r"\((?P<size>\d+)\)",
        "{heads} attention heads can't be dealt out to {size} GPUs.",
        "{run:04} -p tensor_parallel_size=…  (a divisor of {heads})",
    ),
    _known(
        "bad-config",
        r"World size \((?P<size>\d+)\) is larger than the number of available GPUs \((?P<most>\d+)\)",
        "The server is to use {size} GPUs, and its pod has {most}.",
        "{run:04} -p tensor_parallel_size={most}",
    ),
    _known(
        "hub-forbidden",
        r"is gated and this token's owner has no access|403 Client Error|Access to model \S+ is restricted and you are "
        r"not in the authorized list|\(403\)|awaiting a review from the repo authors",
        "The hub knows the token, and its owner has no access to this gated model (403).",
        "ask for access on the model's page with the token's account ({hub}), then {run:03}",
    ),
    _known(
        "hub-auth",
        r"no valid token was sent|401 Client Error|invalid \(401\)|Invalid user(?:name or password|.token)|"
        r"You must (?:be authenticated|have access to it and be authenticated)|Cannot access gated repo",
        "The hub wants a token for this model, or refuses the one it got (401).",
        _TOKEN,
        "{kubectl:get secret {token_secret}}  (is it there, with the right key?)",
    ),
    _known(
        "hub-not-found",
        r"404 Client Error|RepositoryNotFoundError|RevisionNotFoundError|has no (?:model|revision) \S+",
        "The hub has no such model or revision.",
        "{run:03} -p hub_id=…  (as on the model's page)",
    ),
    _known(
        "hub-rate-limit",
        r"429 Client Error|the hub answered 429|HTTP status client error \(429",
        "The hub answers 429 Too Many Requests: too many files asked for by this address.",
        "{run:03}  (prefetches once, and servers read the volume: no server asks the hub)",
        _TOKEN,
        weak=True,
    ),
    _known(
        "hub-timeout",
        r"check that the pod reaches the hub|We couldn't connect to '?https?://|Read timed out|"
        r"(?:Read|Connect|Pool)Timeout\b|(?:Read|Connect|Pool)Timeout:|ConnectionError: .*Max retries exceeded|"
        r"MaxRetryError|LocalEntryNotFoundError|NameResolutionError|ConnectError|"
        r"An error happened while trying to locate the file on the Hub|the hub answered 50[0234]",
        "The model hub can't be reached from the pod, or doesn't answer in time.",
        "{kubectl:run hub-test --rm -it --restart=Never --image=curlimages/curl:8.15.0 -- curl -sSI {hub}}",
        "{run:03} -p hub.endpoint=https://YOUR-MIRROR",
        "servers: serve from the volume with HF_HUB_OFFLINE=1: {run:04}",
        weak=True,
    ),
    _known(
        "read-only-volume",
        r"Read-only file system",
        "The process writes to a volume that is mounted (or exported) read-only.",
        *_READ_ONLY,
        weak=True,
    ),
    _known(
        "volume-full",
        r"No space left on device|the file system is full|the quota is used up|GiB\) free; enlarge|has a capacity of .*"
        r"ask for a larger volume|refuses files that large",
        "The volume has no room for the weights.",
        "{run:03} -p storage.size=…  (leave it out: derived from the weights)",
    ),
    _known(
        "volume-permission",
        r"can't be written \(Permission denied|Permission denied: '(?P<what>/[^']+)'",
        "The files of the volume belong to another user than the pod's.",
        "set securityContext.fsGroup of the pod to the volume's group: {run:03}",
        weak=True,
    ),
    _known(
        "weights-missing",
        r"Repo id must be in the form|Cannot find any model weights with|is not a local folder|"
        r"does not appear to have a file named|No such file or directory: '(?:/models|\S*safetensors)",
        "The server doesn't find the model where it looks: the path is wrong, or the volume was never filled.",
        "{run:03}  (fills the volume and checks every file), then {run:04}",
        "{kubectl:get pvc -o yaml}  (annotation weights.runbook.vllm.dev/… names what it holds)",
    ),
)


@dataclass(frozen=True)
class Recognized:
    """A known error in a log: its line, and cause and fixes in words."""

    known: Known
    line: str
    cause: str
    fix: tuple[str, ...]


def recognize(lines: Sequence[str], context: Context) -> Recognized | None:
    """The first known error of a log; without any, the newest weak one near its end."""
    weak: Recognized | None = None
    for number, line in enumerate(lines):
        for known in KNOWN:
            if match := known.pattern.search(line):
                if not known.weak:
                    return _filled(known, line, match, context)
                if number >= len(lines) - _NEAR:
                    weak = _filled(known, line, match, context)
                break
    return weak


def _filled(known: Known, line: str, match: re.Match[str], context: Context) -> Recognized:
    words = {name: value or "…" for name, value in match.groupdict().items()}
    filler = {**words, "run": _Run(context), "kubectl": _Kubectl(context), "hub": context.hub_endpoint}
    filler |= {"token_secret": context.token_secret}
    return Recognized(known, line, known.cause.format(**filler), tuple(each.format(**filler) for each in known.fix))


class _Run:
    """``{run:03}`` in a template."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __format__(self, number: str) -> str:
        return self._context.run(number)


class _Kubectl:
    """``{kubectl:get pods}`` in a template."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __format__(self, words: str) -> str:
        return self._context.kubectl(words)
