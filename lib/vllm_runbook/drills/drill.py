"""What a drill consists of: what is done to break, what shows then, and what holds once it is mended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..cluster import Object, Ref, Selection, State, ref_of
from ..notebook import Notebook


@dataclass(frozen=True)
class Goal:
    """A state to wait for.

    Attributes:
        watch: what has to be seen to judge it.
        missing: what is not there yet, one statement each; nothing once the state is reached. It names what holds,
            never what to do: a trainee reads it.
    """

    watch: Callable[[Notebook], Sequence[Selection]]
    missing: Callable[[Notebook, State], Sequence[str]]

    def __and__(self, other: Goal) -> Goal:
        """Both."""
        return Goal(
            lambda book: list(dict.fromkeys([*self.watch(book), *other.watch(book)])),
            lambda book, state: [*self.missing(book, state), *other.missing(book, state)],
        )


@dataclass(frozen=True)
class Create:
    """An object of the drill's own; goes with the reset."""

    item: Object

    @property
    def ref(self) -> Ref:
        return ref_of(self.item)


@dataclass(frozen=True)
class Change:
    """Fields (see cluster.changed) of an object that is there; None removes one."""

    ref: Ref
    fields: dict[str, Any]


@dataclass(frozen=True)
class Delete:
    """An object that goes, and comes back with the reset."""

    ref: Ref


@dataclass(frozen=True)
class Replace:
    """An object that is deleted and made anew in another form: Jobs can't be changed."""

    item: Object

    @property
    def ref(self) -> Ref:
        return ref_of(self.item)


@dataclass(frozen=True)
class Until:
    """What has to be there before the next act."""

    what: str
    goal: Goal
    seconds: float = 60


Act = Create | Change | Delete | Replace | Until


@dataclass(frozen=True)
class Drill:
    """One thing to break, to find and to mend.

    Attributes:
        name: also the code of the finding that a diagnosis of it has.
        symptom: what somebody who is on call would be told. It doesn't say what is wrong.
        hints: where to look, one after another; the last one says what is wrong.
        solution: one way to mend it, as shell commands; fields in braces are those of ``solving.fields``.
        notebook: the one that explains what was broken.
        acts: how it is broken; decided on the cluster as it is.
        shows: the symptom as a state.
        mended: the state to reach.
        needs: the last notebook that must have been run; what else, see ``lacks``.
        lacks: what this platform would have to offer, or nothing.
    """

    name: str
    title: str
    symptom: str
    hints: tuple[str, ...]
    solution: tuple[str, ...]
    notebook: str
    acts: Callable[[Notebook], list[Act]]
    shows: Goal
    mended: Goal
    needs: str = "04"
    lacks: Callable[[Notebook], str] = field(default=lambda _book: "")
