"""What is concluded from a step: pure functions from counts to a decision, with the numbers that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..params.canary import Gates

PASS, FAIL, WAIT = "holds", "does not hold", "too few requests"


@dataclass(frozen=True)
class Window:
    """What one version did in a step.

    Attributes:
        requests: completions that were answered, whatever the status.
        errors: … with a server's error; broken: … that the server broke off, because it ended.
        refused: … with a client's error (4xx), or by the admission limit in a stream, whose status is 200.
        ttft: (upper bound in seconds, answers whose first token came within it), ascending; the last bound is infinite.
    """

    requests: int = 0
    errors: int = 0
    refused: int = 0
    broken: int = 0
    ttft: Sequence[tuple[float, float]] = field(default_factory=tuple)

    def quantile(self, share: float) -> float | None:
        """A quantile of the time to first token, in seconds; as PromQL's histogram_quantile: linear within a bucket."""
        if not self.ttft or not self.ttft[-1][1]:
            return None
        rank = share * self.ttft[-1][1]
        for (low, below), (bound, count) in pairwise([(0.0, 0.0), *self.ttft]):
            if count >= rank:
                if bound == float("inf"):
                    return low
                return low + (bound - low) * (rank - below) / (count - below) if count > below else bound
        return None


@dataclass(frozen=True)
class Pulse:
    """What counters can't say: they move only when something begins or ends.

    Attributes:
        restarts: of the canary's containers since it was made.
        stalled: seconds for which a server of it with requests has given no token and ended none.
        missing: seconds for which it has had fewer ready replicas than it should.
    """

    restarts: int = 0
    stalled: float = 0
    missing: float = 0


@dataclass(frozen=True)
class Finding:
    """One gate: what was measured against what, in words, and what follows."""

    gate: str
    canary: str
    stable: str
    limit: str
    verdict: str


@dataclass(frozen=True)
class Decision:
    """All gates of a step."""

    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """FAIL as soon as one gate fails; PASS when all hold."""
        verdicts = {each.verdict for each in self.findings}
        return FAIL if FAIL in verdicts else WAIT if WAIT in verdicts else PASS

    @property
    def why(self) -> str:
        """The gates that don't hold, with their numbers."""
        open_ = [each for each in self.findings if each.verdict == self.verdict and each.verdict != PASS]
        return "; ".join(f"{each.gate} {each.canary} ({each.limit})" for each in open_)


def judge(gates: Gates, canary: Window, stable: Window, pulse: Pulse | None = None) -> Decision:
    """Judge the canary's window.

    A gate fails before the sample is complete when the rest of it couldn't mend it any more: more errors than the whole
    smallest sample may have.

    Args:
        stable: the stable version in the same time, or when it last had traffic.
        pulse: whether the canary is alive; None: it is.
    """
    pulse = pulse or Pulse()
    enough = canary.requests >= gates.min_requests
    sample = max(canary.requests, gates.min_requests)
    refused = stable.refused / stable.requests if stable.requests else 0.0

    def rate(gate: str, count: int, most: float, theirs: int) -> Finding:
        verdict = FAIL if count > most * sample else PASS if enough else WAIT
        return Finding(gate, _share(count, canary.requests), _share(theirs, stable.requests), _at_most(most), verdict)

    findings = [
        Finding(
            "requests",
            str(canary.requests),
            str(stable.requests),
            f"at least {gates.min_requests}",
            PASS if enough else WAIT,
        ),
        rate("server errors", canary.errors, gates.max_error_rate, stable.errors),
        rate("refused requests", canary.refused, refused + gates.max_error_rate, stable.refused),
        rate("broken answers", canary.broken, gates.max_broken_rate, stable.broken),
        _ttft(gates, canary, stable, enough=enough),
        Finding("container restarts", str(pulse.restarts), "", "none", FAIL if pulse.restarts else PASS),
        _lasts("no token with requests under way", pulse.stalled, gates.stall_seconds),
        _lasts("replicas not ready", pulse.missing, gates.stall_seconds),
    ]
    return Decision(tuple(findings))


def _lasts(gate: str, seconds: float, most: float) -> Finding:
    return Finding(gate, f"for {seconds:.0f} s", "", f"less than {most:g} s", FAIL if seconds >= most else PASS)


def _ttft(gates: Gates, canary: Window, stable: Window, *, enough: bool) -> Finding:
    ours, theirs = canary.quantile(0.95), stable.quantile(0.95)
    if theirs is None:
        return Finding("TTFT p95", _seconds(ours), "", "the stable version had no requests", WAIT)
    most = theirs * gates.ttft_p95_ratio + gates.ttft_p95_slack_seconds
    seen = canary.ttft[-1][1] if canary.ttft else 0
    known = ours is not None and enough and seen >= gates.min_requests
    verdict = WAIT if not known else PASS if (ours or 0.0) <= most else FAIL
    return Finding("TTFT p95", _seconds(ours), _seconds(theirs), f"at most {most:.2f} s", verdict)


def _share(count: int, of: int) -> str:
    return f"{count} of {of}" + (f" ({count / of:.1%})" if of else "")


def _at_most(share: float) -> str:
    return f"at most {share:.1%}" if share else "none"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"
