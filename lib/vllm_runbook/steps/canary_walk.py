"""The way of a new version: step by step to all of the traffic, or back at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .. import cluster as k8s
from ..cluster import Ref, State, TimedOut
from ..errors import RunbookError
from ..notebook import Notebook
from ..params.golden import Golden
from ..tables import Table
from . import canary, canary_counts, canary_golden, canary_promotion, canary_wait, deploy, experiment, observability
from .canary_counts import CANARY, STABLE
from .canary_gates import FAIL, PASS, Decision, Window, judge
from .canary_pulse import Watch
from .experiment import Experiment
from .load import Load

#: Seconds of load before the first step: the stable version's own figures are the measure.
SETTLE = 2
#: Words of :attr:`Walk.outcome`.
PROMOTED, ROLLED_BACK, REFUSED = "promoted", "rolled back", "refused before traffic"
#: Marks on the load's time axis; a step's own is :attr:`Step.name`.
PROMOTION, AGAIN = "promotion", "stable again"


def name_of(weight: int) -> str:
    """How a step is called, and its mark on the load's time axis."""
    return f"{weight} %"


@dataclass(frozen=True)
class Step:
    """One step that was judged.

    ``golden``: what was wrong with the golden answers, empty if nothing; otherwise it had no traffic.
    """

    weight: int
    seconds: float
    canary: Window
    stable: Window
    decision: Decision
    golden: str = ""

    @property
    def name(self) -> str:
        return name_of(self.weight)

    @property
    def verdict(self) -> str:
        return FAIL if self.golden else self.decision.verdict

    @property
    def why(self) -> str:
        """Why it doesn't hold, with the numbers."""
        return f"golden prompts: {self.golden}" if self.golden else self.decision.why


class Walk:
    """One rollout of the new version.

    Attributes:
        steps: those that were judged.
        outcome: PROMOTED, ROLLED_BACK or REFUSED; empty before.
        why: what it was rolled back or refused for.
        before: the answers to the golden prompts before any traffic.
    """

    def __init__(self, book: Notebook) -> None:
        self.book, self.settings = book, canary.settings(book.params)
        self.steps: list[Step] = []
        self.outcome = self.why = ""
        self.before: list[canary_golden.GoldenAnswer] = []
        self._mark: Callable[[str], None] = lambda _words: None
        self._golden: Golden | None = None
        self._stable = Window()
        self._left = threading.Event()

    # -- before any traffic ------------------------------------------------------------------------

    def ask_golden(self) -> Table:
        """Ask the new version its golden prompts; one that answers wrong is taken away again. Notes the check.

        It has no traffic yet: the route names it, with the weight 0. The stable version is asked first.

        Raises:
            RunbookError: that one answers wrong, so that nothing can be said of the new one; it is taken away again.
        """
        self._route(0)
        try:
            self._golden = canary_golden.agreed(self.book, self.settings.golden, self.settings.gates.stall_seconds)
        except RunbookError:
            self._leave()
            raise
        self.before = self._ask(self._golden)
        if wrong := canary_golden.failed(self.before):
            self.outcome, self.why = REFUSED, f"golden prompts: {wrong}"
            self._leave()
        self.book.check("the new version answers the golden prompts", not wrong, wrong)
        return canary_golden.table(self.before)

    def _ask(self, golden: Golden) -> list[canary_golden.GoldenAnswer]:
        return canary_golden.ask(self.book, golden, canary.SERVICE, self.settings.gates.stall_seconds)

    # -- the steps -----------------------------------------------------------------------------------

    def run(self) -> None:
        """All steps, each judged, with promotion or the way back at the end; waits for all of it.

        Whatever goes wrong, the canary's share is 0 before the error is raised.
        """
        try:
            for weight in self.settings.steps:
                step = self._step(weight)
                self.steps.append(step)
                if step.verdict != PASS:
                    self._back(step)
                    return
            self._promote()
        except BaseException:
            self._apply_route(0)
            raise

    def trial(self, load: Load, address: str) -> Experiment:
        """Requests of the load generator through the gateway, which :meth:`under_load` walks under; draws itself."""
        found = Experiment(self.book, load, canary.target(self.book, address))
        self._mark = found.mark
        return found

    def under_load(self, trial: Experiment) -> None:
        """The walk, with a load meanwhile; until both are over.

        Raises:
            RunbookError: the walk's own error, or the load generator's.
        """
        failure: list[BaseException] = []
        done = threading.Event()

        def work() -> None:
            try:
                self.run()
            except BaseException as error:
                failure.append(error)
            finally:
                done.set()
                trial.wake()

        thread = threading.Thread(target=work, daemon=True, name="canary")
        patience = len(self.settings.steps) * self.settings.step_timeout_seconds + 600

        def settled(_state: State) -> bool:
            return done.is_set()

        try:
            experiment.run(self.book, trial, act=thread.start, act_after=SETTLE, settled=settled, seconds=patience)
        except BaseException:  # Ctrl-C, or no load: nobody looks at the walk any more, so it ends, with the share at 0
            self._left.set()
            if thread.is_alive():
                thread.join()
            raise
        if failure:
            raise failure[0]

    def _step(self, weight: int) -> Step:
        """Give the canary its share, and look until it can be judged.

        Its golden prompts come before, and Prometheus has them all by then: they are no part of the sample.
        """
        replicas = canary.replicas_for(weight, self._stable_replicas())
        self.book.put(canary.deployment(self.book.params, self.book.sizing, replicas))
        canary_wait.version(self.book)
        assert self._golden, "ask_golden comes first"
        if wrong := canary_golden.failed(self._ask(self._golden)):
            return Step(weight, 0, Window(), Window(), Decision(()), wrong)
        before = canary_counts.read_anew(self.book, replicas)
        self._mark(name_of(weight))
        self._route(weight)
        began = time.monotonic()
        watch = Watch(began)
        seen: list[tuple[Window, Window, Decision]] = []

        def judged() -> bool:
            if self._left.is_set():
                raise RunbookError("The canary was left", why="what ran beside it has ended")
            now = canary_counts.read(self.book)
            ours, theirs = now.since(before, CANARY), now.since(before, STABLE)
            if theirs.requests >= self.settings.gates.min_requests:
                self._stable = theirs
            base = theirs if not self._stable.requests else self._stable
            missing, restarts = canary_wait.missing(self.book), canary_wait.restarts(self.book)
            pulse = watch.look(now.activity(CANARY), missing, restarts, time.monotonic())
            seen.append((ours, base, judge(self.settings.gates, ours, base, pulse)))
            verdict = seen[-1][2].verdict
            long_enough = time.monotonic() - began >= self.settings.step_seconds
            return verdict == FAIL or (verdict == PASS and long_enough)

        interval = self.book.params.platform.metrics.scrape_interval_seconds
        limit = self.settings.step_timeout_seconds
        try:
            observability.prometheus(self.book).until(
                f"the step to {weight} % can be judged",
                judged,
                seconds=limit,
                every=max(0.5, interval / 2),
                explain=lambda: seen[-1][2].why if seen else "",
            )
        except TimedOut:  # nothing is concluded from too few requests, least of all that all is well
            if not seen:
                raise
        ours, base, decision = seen[-1]
        return Step(weight, round(time.monotonic() - began, 1), ours, base, decision)

    def _stable_replicas(self) -> int:
        item = self.book.cluster.get(Ref("Deployment", deploy.DEPLOYMENT, self.book.namespace))
        return int(k8s.get_in(item, "spec.replicas", 1))

    def _promote(self) -> None:
        """The stable Deployment takes the new version by a rolling update while the canary serves; then back to it."""
        self._mark(PROMOTION)
        canary_promotion.promote(self.book)
        self._rest()
        self._mark(AGAIN)
        self.outcome = PROMOTED

    def take_back(self) -> None:
        """End a rehearsal: the stable Deployment gets the version of the parameters again. Notes the check."""
        if self.settings.rehearse and self.outcome == PROMOTED:
            canary_promotion.take_back(self.book)
            self.book.check("the Deployment is back at the version of the parameters", True)

    def _back(self, step: Step) -> None:
        """No more traffic at once; then the canary goes, unless it is to be looked at."""
        self._route(0)
        self._mark(ROLLED_BACK)
        self.outcome, self.why = ROLLED_BACK, f"{step.name}: {step.why}"
        self._leave()

    def _leave(self) -> None:
        if not self.settings.keep:
            self._rest()

    def _rest(self) -> None:
        """The route without a canary, and no canary."""
        self._route(None)
        canary_wait.remove(self.book)

    def _route(self, weight: int | None) -> None:
        self._apply_route(weight)
        canary_wait.route(self.book)

    def _apply_route(self, weight: int | None) -> None:
        for item in canary.route(self.book.params, self.book.sizing, weight):
            self.book.put(item)


def require_metrics(book: Notebook) -> None:
    """Check that Prometheus answers: without it nothing can be judged.

    Raises:
        RunbookError: it doesn't.
    """
    with book.earlier():
        try:
            observability.prometheus(book).query("vector(1)")
        except RunbookError as error:
            raise RunbookError(
                "There are no metrics to judge a version by", why=error.what, next_step="Run notebook 05 first."
            ) from error
