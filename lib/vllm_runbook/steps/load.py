"""Load on a server: an open-loop generator that runs as a Job in the cluster, and what it tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .. import cluster as k8s
from ..cluster import Object, Ref
from ..cluster.stream import Events, Seen
from ..errors import RunbookError
from ..manifests import manifest
from ..notebook import Notebook
from . import deploy, protection

MANIFEST = "load/job.yaml"


@dataclass(frozen=True)
class Load:
    """What is asked of a server.

    Attributes:
        name: the Job is called ``load-<name>``.
        rate: requests per second that start, whatever happens to those before them.
        prompt_tokens, output_tokens: of every request.
        arrivals: ``poisson`` or ``fixed``.
        retries: how often a client tries again what was refused or failed before its first token.
        retry_cut: also what was cut off after it; its reader sees another beginning.
        late_after: seconds to the first token, above which a complete answer counts as late; None: none does.
    """

    name: str
    rate: float = 50
    seconds: float = 30
    prompt_tokens: int = 512
    output_tokens: int = 64
    arrivals: str = "poisson"
    retries: int = 0
    retry_cut: bool = False
    late_after: float | None = None


@dataclass(frozen=True)
class Target:
    """A Deployment behind a Service. ``pods`` is the label selector of its pods.

    ``address`` is where clients ask, if that isn't the Service: a gateway's.
    """

    namespace: str
    service: str
    deployment: str
    pods: str
    address: str = ""

    @property
    def ref(self) -> Ref:
        return Ref("Deployment", self.deployment, self.namespace)

    @property
    def url(self) -> str:
        """The address that clients in the cluster use."""
        return self.address or f"http://{self.service}.{self.namespace}.svc.cluster.local:{deploy.PORT}"


def ours(book: Notebook) -> Target:
    """The Deployment of notebook 04."""
    return Target(book.namespace, deploy.SERVICE, deploy.DEPLOYMENT, deploy.PODS)


def allowed(book: Notebook) -> bool:
    """Whether this cluster may be put under load; says so in one line where it may not."""
    platform = book.params.platform
    if not platform.rehearsal.load:
        print(f"Left out: {platform.name} is not to be put under load (rehearsal.load).")
    return platform.rehearsal.load


def require_allowed(book: Notebook) -> None:
    """Check that this cluster may be put under load.

    Raises:
        RunbookError: the parameters don't say so.
    """
    if not book.params.platform.rehearsal.load:
        raise RunbookError(
            f"{book.params.platform.title} is not to be put under load",
            why="rehearsal.load is false: on a cluster that serves somebody, load tests are a decision",
            next_step="If it is meant: -p rehearsal.load=true.",
        )


def job(book: Notebook, load: Load, target: Target) -> Object:
    """The generator's Job; it runs in our namespace, whatever its target."""
    platform = book.params.platform
    args = {
        "url": target.url,
        "model": book.params.model.served_name,
        "rate": f"{load.rate:g}",
        "seconds": f"{load.seconds:g}",
        "arrivals": load.arrivals,
        "prompt-tokens": load.prompt_tokens,
        "output-tokens": load.output_tokens,
        "retries": load.retries,
        **({} if load.late_after is None else {"late-after": f"{load.late_after:g}"}),
    }
    container = "spec.template.spec.containers[0]"
    fields: dict[str, Any] = {
        "metadata.name": f"load-{load.name}",
        f"{container}.image": platform.image(platform.images.runbook),
        f"{container}.env[1]": protection.key_variable(platform, optional=True),
        f"{container}.args": [f"--{name}={value}" for name, value in args.items()] + ["--retry-cut"] * load.retry_cut,
    }
    return manifest(MANIFEST, book.namespace, fields)


@dataclass
class Report:
    """What the generator has told so far: every second, and at the end the whole.

    Attributes:
        samples: counts of each second (sent, complete, dropped, rejected, in_flight, …).
        result: totals, reasons, latencies and the generator's own overhead; empty until it has ended.
    """

    began: datetime | None = None
    samples: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)

    def take(self, line: str) -> bool:
        """One line of its log; False if it isn't one of its own."""
        try:
            told = json.loads(line)
        except ValueError:
            return False
        kind = told.get("event") if isinstance(told, dict) else None
        if kind == "start":
            self.began = datetime.fromisoformat(told["at"])
        elif kind == "sample":
            self.samples.append(told)
        elif kind == "result":
            self.result = told
        return kind in ("start", "sample", "result")

    def total(self, name: str) -> int:
        """So many requests so far: ``sent``, ``complete``, ``dropped``, ``rejected`` or ``retried``."""
        return int(self.result.get(name, sum(sample[name] for sample in self.samples)))


class Follower:
    """Follows the log of a Job's pod, once it has one."""

    def __init__(self, job_name: str, told: Callable[[str], None]) -> None:
        self._job, self._told = job_name, told
        self._following: str | None = None

    def take(self, event: Seen, events: Events) -> None:
        """One event of a wait that watches the Job's pods."""
        if event.type == "LINE":
            self._told(event.line)
        elif self._following is None and event.object.get("kind") == "Pod" and event.type != "DELETED":
            meta = event.object["metadata"]
            started = any(
                "running" in status["state"] or "terminated" in status["state"]
                for status in k8s.get_in(event.object, "status.containerStatuses", ())
            )
            if started and meta.get("labels", {}).get("batch.kubernetes.io/job-name") == self._job:
                self._following = meta["uid"]
                events.follow_log(meta["namespace"], meta["name"])
