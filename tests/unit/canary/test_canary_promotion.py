"""What an interrupted run has begun is ended by the next one, whatever was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from canary_world import NEW, World, enter
from vllm_runbook.notebook import Notebook
from vllm_runbook.steps import canary, canary_promotion, canary_wait
from vllm_runbook.steps.canary_walk import Walk

OLD_IMAGE, NEW_IMAGE = "vllm/vllm-openai:v0.32.0", "vllm/vllm-openai:v0.33.0"
Begin = Callable[..., World]


class Interrupted(BaseException):
    """As KeyboardInterrupt is no Exception."""


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Begin:
    """A world in which a run was interrupted in its promotion, and the next one has put the route at rest."""

    def begin(at: str = "vllm-inference is ready", **overrides: str) -> World:
        chosen = {f"canary.{name}": value for name, value in overrides.items()}
        world = enter(monkeypatch, World(chosen))
        walk = Walk(cast(Notebook, world))
        walk.ask_golden()
        ready, remove = canary_wait.version, canary_wait.remove

        def version(book: Notebook, name: str = canary.NAME) -> None:
            if f"{name} is ready" == at:
                raise Interrupted
            ready(book, name)

        def away(book: Notebook) -> None:
            if at == "removal":
                raise Interrupted
            remove(book)

        monkeypatch.setattr(canary_wait, "version", version)
        monkeypatch.setattr(canary_wait, "remove", away)
        if at == "taking back":
            walk.run()
        else:
            with pytest.raises(Interrupted):
                walk.run()
        monkeypatch.setattr(canary_wait, "version", ready)
        monkeypatch.setattr(canary_wait, "remove", remove)
        for item in canary.route(world.params, world.sizing):
            world.put(item)
        world.done.clear()
        return world

    return begin


def mend(world: World) -> None:
    canary_promotion.mend(cast(Notebook, world))


@pytest.mark.parametrize("at", ["vllm-inference is ready", "removal"])
def test_a_promotion_is_ended(interrupted: Begin, capsys: pytest.CaptureFixture[str], at: str) -> None:
    world = interrupted(at)
    assert NEW in world.objects and world.image() == NEW_IMAGE
    mend(world)
    assert world.done == ["vllm-inference is ready", "- vllm-canary"] and NEW not in world.objects
    assert world.image() == NEW_IMAGE and not canary.is_new(cast(Notebook, world))
    assert "an interrupted promotion" in capsys.readouterr().out


@pytest.mark.parametrize("at", ["vllm-inference is ready", "removal", "taking back"])
def test_a_rehearsal_is_taken_back_and_tried_again(interrupted: Begin, at: str) -> None:
    world = interrupted(at, rehearse="true")
    assert world.image() == NEW_IMAGE
    mend(world)
    assert world.done == ["vllm-inference", "vllm-inference is ready"] and world.image() == OLD_IMAGE
    assert canary.is_new(cast(Notebook, world)), "and may be tried again, with the canary that is there or a new one"
    mend(world)
    assert len(world.done) == 2, "nothing is left to mend"


def test_a_rehearsal_is_taken_back_by_a_run_with_another_version_or_none(interrupted: Begin) -> None:
    world = interrupted(rehearse="true")
    world.params = world.params.replace({"canary.image": None, "canary.rehearse": False})
    mend(world)
    assert world.image() == OLD_IMAGE and NEW not in world.objects


def test_a_canary_that_is_still_new_stays_to_be_tried_again(interrupted: Begin) -> None:
    world = interrupted("vllm-canary is ready")
    mend(world)
    assert world.done == [] and NEW in world.objects


def test_a_canary_that_nobody_tries_goes_unless_it_is_to_be_looked_at(interrupted: Begin) -> None:
    world = interrupted("vllm-canary is ready")
    world.params = world.params.replace({"canary.image": None, "canary.keep": True})
    mend(world)
    assert NEW in world.objects
    world.params = world.params.replace({"canary.keep": False})
    mend(world)
    assert world.done == ["- vllm-canary"]


def test_a_promoted_version_goes_as_canary_even_if_it_was_to_be_kept(interrupted: Begin) -> None:
    """Only one that was rolled back is to be looked at."""
    world = interrupted(keep="true")
    mend(world)
    assert NEW not in world.objects


def test_without_anything_left_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    world = enter(monkeypatch, World())
    world.done.clear()
    mend(world)
    assert world.done == []
