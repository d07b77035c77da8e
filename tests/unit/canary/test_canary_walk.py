"""The way of a new version: to all of the traffic, or back whatever goes wrong; nothing of it is left on the route."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from canary_world import NEW, STABLE, World, enter
from vllm_runbook.errors import RunbookError
from vllm_runbook.notebook import Notebook
from vllm_runbook.prometheus import Series
from vllm_runbook.steps import canary_golden, canary_report, experiment
from vllm_runbook.steps.canary_walk import PROMOTED, REFUSED, ROLLED_BACK, Walk

OLD_IMAGE, NEW_IMAGE = "vllm/vllm-openai:v0.32.0", "vllm/vllm-openai:v0.33.0"
Rollout = Callable[..., tuple[World, Walk]]


@pytest.fixture
def rollout(monkeypatch: pytest.MonkeyPatch) -> Rollout:
    """A world with the new version in it, and its walk; the keywords are the world's."""

    def begin(overrides: dict[str, str] | None = None, **more: Any) -> tuple[World, Walk]:
        world = enter(monkeypatch, World(overrides or {}, **more))
        walk = Walk(cast(Notebook, world))
        world.done.clear()
        return world, walk

    return begin


def shares(world: World) -> list[int | None]:
    """The new version's shares, in order."""
    return [each for each in world.done if each is None or isinstance(each, int)]


def is_away(world: World) -> bool:
    return world.weight is None and NEW not in world.objects


def test_a_good_version_takes_all_steps_and_is_the_stable_one_then(rollout: Rollout) -> None:
    world, walk = rollout()
    walk.ask_golden()
    walk.run()
    assert walk.outcome == PROMOTED and [step.weight for step in walk.steps] == [5, 25, 50, 100]
    assert shares(world) == [0, 5, 25, 50, 100, None] and is_away(world)
    assert world.image() == NEW_IMAGE
    # it serves until the stable version does
    assert world.done[-4:] == ["vllm-inference", "vllm-inference is ready", None, "- vllm-canary"]
    assert set(world.checks.values()) == {True}


def test_too_few_requests_in_time_lead_back(rollout: Rollout) -> None:
    world, walk = rollout(traffic=False)
    walk.ask_golden()
    walk.run()
    assert walk.outcome == ROLLED_BACK and walk.why.startswith("5 %: requests 0 (at least 20)")
    assert shares(world) == [0, 5, 0, None] and is_away(world) and world.image() == OLD_IMAGE


def test_golden_prompts_are_no_part_of_any_sample(rollout: Rollout) -> None:
    """100 requests come between two scrapes, and two prompts before each step."""
    _, walk = rollout()
    walk.ask_golden()
    walk.run()
    assert [step.canary.requests % step.weight for step in walk.steps] == [0, 0, 0, 0]


def test_a_version_that_is_busy_is_asked_again(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Being busy is no wrong answer, of neither version; how often it happens is for the gate of refusals."""
    monkeypatch.setattr(canary_golden, "_AGAIN_SECONDS", 0.01)
    world, walk = rollout(busy=3)
    walk.ask_golden()
    world.busy = 3
    walk.run()
    assert walk.outcome == PROMOTED and world.busy == 0


def test_one_that_stays_busy_is_not_asked_for_ever(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary_golden, "_AGAIN_SECONDS", 0.01)
    world, walk = rollout({"canary.gates.stall_seconds": "1"})
    walk.ask_golden()
    world.busy = 10**6
    walk.run()
    assert walk.outcome == ROLLED_BACK and "5 %: golden prompts: " in walk.why and "currently busy" in walk.why
    assert is_away(world)


def test_golden_prompts_are_no_sample(rollout: Rollout) -> None:
    """They would be as many as it takes."""
    _, walk = rollout({"canary.gates.min_requests": "1"}, traffic=False)
    walk.ask_golden()
    walk.run()
    assert walk.outcome == ROLLED_BACK and walk.steps[0].canary.requests == 0


def test_errors_lead_back_at_the_first_step(rollout: Rollout) -> None:
    world, walk = rollout(errors=0.5)
    walk.ask_golden()
    walk.run()
    assert walk.outcome == ROLLED_BACK and "server errors" in walk.why
    assert shares(world) == [0, 5, 0, None] and is_away(world)


def test_streams_that_are_refused_lead_back(rollout: Rollout) -> None:
    """Their status is 200: only the server's own counter has them."""
    _, walk = rollout(rejects=0.5)
    walk.ask_golden()
    walk.run()
    assert walk.outcome == ROLLED_BACK and "refused requests" in walk.why and "server errors" not in walk.why


def test_a_restart_leads_back_whatever_the_counters_say(rollout: Rollout) -> None:
    world, walk = rollout(restarts=1)
    walk.ask_golden()
    walk.run()
    assert walk.why == "5 %: container restarts 1 (none)" and is_away(world)


def test_a_version_that_hangs_leads_back_long_before_the_step_times_out(rollout: Rollout) -> None:
    world, walk = rollout({"canary.step_timeout_seconds": "3600"}, hangs=True)
    walk.ask_golden()
    walk.run()
    assert "no token with requests under way for 15 s (less than 15 s)" in walk.why
    assert walk.steps[0].seconds < 20 and is_away(world)


def test_a_replica_that_is_gone_leads_back(rollout: Rollout) -> None:
    world, walk = rollout({"canary.step_timeout_seconds": "3600"}, traffic=False, not_ready=1)
    walk.ask_golden()
    walk.run()
    assert "replicas not ready for 15 s (less than 15 s)" in walk.why and is_away(world)


def test_wrong_answers_at_a_later_step_lead_back_before_it_has_that_share(rollout: Rollout) -> None:
    world, walk = rollout()
    walk.ask_golden()

    def break_it() -> None:
        if world.weight == 5:
            world.answers["inference-canary"] = "something else"

    world.on_scrape = break_it
    walk.run()
    assert walk.outcome == ROLLED_BACK
    assert walk.why.startswith("25 %: golden prompts: says what it is: 'simulated answer' is missing")
    assert shares(world) == [0, 5, 0, None] and is_away(world)
    assert "25 %" in str(canary_report.table(walk))


def test_keep_leaves_a_version_that_did_not_hold_without_traffic(rollout: Rollout) -> None:
    world, walk = rollout({"canary.keep": "true"}, errors=0.5)
    walk.ask_golden()
    walk.run()
    assert walk.outcome == ROLLED_BACK and world.weight == 0 and NEW in world.objects


@pytest.mark.parametrize("error", [RunbookError("Prometheus does not answer"), KeyboardInterrupt()])
def test_an_error_or_an_interruption_takes_the_share_back_before_it_is_raised(
    rollout: Rollout, error: BaseException
) -> None:
    world, walk = rollout()
    walk.ask_golden()

    def break_it() -> None:
        if world.weight == 25:
            raise error

    world.on_scrape = break_it
    with pytest.raises(type(error)):
        walk.run()
    assert shares(world) == [0, 5, 25, 0] and walk.outcome == ""


def test_ctrl_c_under_load_ends_the_walk_and_its_share(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk is in a thread of its own, which no Ctrl-C reaches."""
    world, walk = rollout({"canary.step_timeout_seconds": "20000"}, traffic=False)
    walk.ask_golden()

    class Trial:
        def wake(self) -> None: ...

    begun = threading.Event()
    world.on_scrape = lambda: begun.set() if world.weight == 5 else None

    def run(_book: Any, _trial: Any, *, act: Callable[[], None], **_: Any) -> None:
        act()
        assert begun.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "run", run)
    with pytest.raises(KeyboardInterrupt):
        walk.under_load(cast(Any, Trial()))
    assert world.weight == 0 and world.now < 20_000, "and by the time that it is raised"


def test_wrong_answers_before_any_traffic_end_it(rollout: Rollout) -> None:
    world, walk = rollout()
    world.answers["inference-canary"] = "something else"
    walk.ask_golden()
    assert walk.outcome == REFUSED and is_away(world)
    assert world.checks == {"the new version answers the golden prompts": False}


def test_what_the_stable_version_fails_is_the_files_fault(rollout: Rollout) -> None:
    world, walk = rollout()
    world.answers = dict.fromkeys(world.answers, "I am a teapot")
    with pytest.raises(RunbookError, match=r"params/golden/sandbox.yaml is wrong, and not the new version") as caught:
        walk.ask_golden()
    assert "says what it is: 'simulated answer' is missing" in caught.value.why
    assert "'I am a teapot'" in caught.value.why and "canary.golden" in caught.value.next_step
    assert is_away(world) and {service for service, _ in world.asked} == {"inference"}, "the new one wasn't asked"


def test_a_model_that_is_still_thinking_needs_more_tokens(rollout: Rollout) -> None:
    world, walk = rollout()
    world.answers = dict.fromkeys(world.answers, "<think>The user wants a simulated answer")
    with pytest.raises(RunbookError) as caught:
        walk.ask_golden()
    assert "it ended at max_tokens 16, still thinking" in caught.value.why


def test_a_version_that_says_nothing_is_asked_once(rollout: Rollout) -> None:
    world, walk = rollout()
    world.answers["inference-canary"] = ""
    walk.ask_golden()
    assert walk.outcome == REFUSED and "timed out" in walk.why
    assert [service for service, _ in world.asked].count("inference-canary") == 1


GENERAL = {"canary.golden": "general"}
KNOWING = 'Paris 42 dog "status" "ok" red, blue'


def test_the_request_of_the_file_is_in_every_question(rollout: Rollout) -> None:
    world, walk = rollout(GENERAL)
    world.answers = dict.fromkeys(world.answers, KNOWING)
    walk.ask_golden()
    assert walk.outcome == "" and {service for service, _ in world.asked} == {"inference", "inference-canary"}
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for _, body in world.asked)


def test_a_model_that_refuses_the_request_is_asked_without_and_so_is_the_new_version(rollout: Rollout) -> None:
    """As vLLM does with Mistral's tokenizers."""
    world, walk = rollout(GENERAL, refuses="chat_template_kwargs")
    world.answers = dict.fromkeys(world.answers, KNOWING)
    walk.ask_golden()
    assert walk.outcome == "" and "chat_template_kwargs" in world.asked[0][1]
    assert not any("chat_template_kwargs" in body for _, body in world.asked[1:])


def test_a_rehearsal_is_taken_back(rollout: Rollout) -> None:
    world, walk = rollout({"canary.rehearse": "true"})
    walk.ask_golden()
    walk.run()
    assert walk.outcome == PROMOTED and world.image() == NEW_IMAGE
    walk.take_back()
    assert world.image() == OLD_IMAGE and "annotations" not in world.objects[STABLE]["metadata"]


def test_a_new_version_that_nobody_scrapes_gets_no_traffic(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    world, walk = rollout()
    walk.ask_golden()
    query = world.query

    def without_canary(expression: str) -> list[Series]:
        return [] if expression.startswith("timestamp(") else query(expression)

    monkeypatch.setattr(world, "query", without_canary)
    with pytest.raises(RunbookError, match="Prometheus scrapes the new version"):
        walk.run()
    assert set(shares(world)) == {0}
