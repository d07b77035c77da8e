"""The trials of ours, again and again: ``.venv/bin/python benchmarks/repeats.py 5`` prints a line per trial.

Zeros must stay zeros. ``… 5 spot`` takes spot nodes away instead. It works on the default sandbox, after `runbook run`,
and leaves it as it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
from collections.abc import Callable

from vllm_runbook import notebook
from vllm_runbook.notebook import Notebook
from vllm_runbook.steps import autoscaling, deploy, load, rollout, spot, spot_trials, trials
from vllm_runbook.steps.experiment import Experiment
from vllm_runbook.steps.interruption import Interruption

ASKED = load.Load("", rate=50, seconds=30, prompt_tokens=384, output_tokens=64)
REPLICAS = 3
#: With notice: a loss without any can't be free.
CLOUDS = ("aws", "gcp", "azure")
SPOT = load.Load("", rate=20, seconds=25, prompt_tokens=384, output_tokens=64)


def interruptions(times: int) -> int:
    """Spot nodes that go, by the rules of each cloud."""
    book = notebook.begin("08_spot", "sandbox", "qwen3-8b")
    lost = 0
    with _quiet():
        autoscaling.pause(book, 2, spot.NAME)
    for number in range(1, times + 1):
        for cloud in CLOUDS:
            pair = spot_trials.pair(book, cloud, [("ours", spot.target(book))], SPOT)
            with _quiet():
                spot_trials.interrupt(book, pair, Interruption(book, cloud, [spot.target(book)]))
            lost += _counts(f"{number} {cloud}", pair.trials[0])
    with _quiet():
        autoscaling.pause(book, 0, spot.NAME)
        autoscaling.resume(book, spot.NAME)
    print(f"{lost} requests dropped in {times} repeats")
    return int(lost > 0)


def main(times: int) -> int:
    """Bursts, updates, drains and deletions."""
    book = notebook.begin("07_disruption", "sandbox", "qwen3-8b")
    lost = 0
    for number in range(1, times + 1):
        with _quiet():
            autoscaling.start_from_one(book)
        lost += _one(book, f"{number} outage", ASKED, trials.burst)
        with _quiet():
            autoscaling.pause(book, REPLICAS)
        shorter = dataclasses.replace(ASKED, seconds=25)
        lost += _one(book, f"{number} rollout", shorter, _update)
        lost += _one(book, f"{number} drain", shorter, trials.drain)
        lost += _one(book, f"{number} delete", shorter, trials.delete)
        with _quiet():
            book.put(deploy.deployment(book.params, book.sizing))
            rollout.wait_done(book)
            autoscaling.resume(book)
            autoscaling.wait_ready(book)
    print(f"{lost} requests dropped in {times} repeats")
    return int(lost > 0)


def _update(book: Notebook, trial: Experiment) -> None:
    trials.update(book, trial, rollout.new_version(deploy.deployment(book.params, book.sizing), "--max-num-seqs=192"))


def _one(book: Notebook, name: str, asked: load.Load, run: Callable[[Notebook, Experiment], object]) -> int:
    trial = trials.of(book, name.replace(" ", "-"), load.ours(book), asked)
    with _quiet():
        run(book, trial)
    return _counts(name, trial)


def _counts(name: str, trial: Experiment) -> int:
    counts = {each: trial.report.total(each) for each in ("sent", "complete", "dropped", "rejected")}
    print(name, *(f"{each} {count}" for each, count in counts.items()), f"OOM-killed {trial.oom_killed}", flush=True)
    return counts["dropped"] + trial.oom_killed


def _quiet() -> contextlib.AbstractContextManager[object]:
    return contextlib.redirect_stdout(io.StringIO())


if __name__ == "__main__":
    wanted = interruptions if "spot" in sys.argv else main
    sys.exit(wanted(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
