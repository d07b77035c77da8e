"""Faults to order: what goes wrong, for which file, how often. Set over HTTP, validated by pydantic."""

from __future__ import annotations

import fnmatch
import itertools
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Fault(BaseModel):
    """What every fault has in common.

    Attributes:
        repo: shell-style pattern of the repositories it hits.
        file: pattern of the files it hits.
        times: how many answers it spoils; null for every one.
    """

    model_config = ConfigDict(extra="forbid")

    repo: str = "*"
    file: str = "*"
    times: Annotated[int, Field(ge=1)] | None = 1


class Cut(_Fault):
    """Close the connection after this many bytes of an answer's body."""

    kind: Literal["cut"]
    after_bytes: Annotated[int, Field(ge=0)]


class Corrupt(_Fault):
    """Invert one byte of the file (at ``offset``, or in its middle): right size, wrong checksum."""

    kind: Literal["corrupt"]
    offset: Annotated[int, Field(ge=0)] | None = None


class Stall(_Fault):
    """Send no byte for ``seconds`` after ``after_bytes`` of a body."""

    kind: Literal["stall"]
    seconds: Annotated[float, Field(gt=0, le=3600)]
    after_bytes: Annotated[int, Field(ge=0)] = 0


class _RequestFault(_Fault):
    """A fault that comes before any content, so it can hit the API as well as files."""

    on: Literal["files", "api", "any"] = "any"


class Status(_RequestFault):
    """Answer with an error status: 429 (with Retry-After), 500, 503 …"""

    kind: Literal["status"]
    status: Annotated[int, Field(ge=400, le=599)]
    retry_after: Annotated[int, Field(ge=0)] | None = None


class Delay(_RequestFault):
    """Wait before answering at all, as a server does that is out of reach for a while."""

    kind: Literal["delay"]
    seconds: Annotated[float, Field(gt=0, le=3600)]


Fault = Annotated[Cut | Corrupt | Stall | Status | Delay, Field(discriminator="kind")]
_PARSER: TypeAdapter[Cut | Corrupt | Stall | Status | Delay] = TypeAdapter(Fault)


F = TypeVar("F", bound=_Fault)


class FaultBoard:
    """The faults in force. Each is used up after ``times`` answers."""

    def __init__(self) -> None:
        self._faults: dict[int, tuple[_Fault, int]] = {}
        self._ids = itertools.count(1)

    def add(self, description: Any) -> dict[str, Any]:
        """Put a fault in force and return it as :meth:`ordered` shows it.

        Raises:
            pydantic.ValidationError: the description isn't a fault.
        """
        fault = _PARSER.validate_python(description)
        number = next(self._ids)
        self._faults[number] = (fault, 0)
        return self._show(number)

    def ordered(self) -> list[dict[str, Any]]:
        """All faults ordered so far, with the number of answers that each has spoiled (``used``)."""
        return [self._show(number) for number in self._faults]

    def clear(self) -> None:
        self._faults.clear()

    def _show(self, number: int) -> dict[str, Any]:
        fault, used = self._faults[number]
        return {"id": number, "used": used, **fault.model_dump()}

    def before_answer(self, repo: str, file: str | None) -> list[Status | Delay]:
        """Faults that hit this request before it is answered; ``file`` is None for an API request.

        Requests about no repository (clients ask for all kinds of things) use up no fault.
        """
        if not repo:
            return []
        return [
            self._use(number, fault)
            for number, fault in self._matching(repo, file or "")
            if isinstance(fault, Status | Delay) and fault.on in ("any", "api" if file is None else "files")
        ]

    def in_body(self, repo: str, file: str, start: int, stop: int, size: int) -> list[Cut | Corrupt | Stall]:
        """Faults that hit a body with the bytes ``[start, stop)`` of a file of ``size`` bytes."""
        hits: list[Cut | Corrupt | Stall] = []
        for number, fault in self._matching(repo, file):
            length = stop - start
            match fault:
                case Corrupt() if start <= corrupt_offset(fault, size) < stop:
                    hits.append(self._use(number, fault))
                case Cut() | Stall() if fault.after_bytes < length:
                    hits.append(self._use(number, fault))
        return hits

    def _matching(self, repo: str, file: str) -> list[tuple[int, _Fault]]:
        return [
            (number, fault)
            for number, (fault, used) in self._faults.items()
            if (fault.times is None or used < fault.times)
            and fnmatch.fnmatchcase(repo, fault.repo)
            and fnmatch.fnmatchcase(file, fault.file)
        ]

    def _use(self, number: int, fault: F) -> F:
        self._faults[number] = (fault, self._faults[number][1] + 1)
        return fault


def corrupt_offset(fault: Corrupt, size: int) -> int:
    """Which byte of a file of this size the fault inverts."""
    return size // 2 if fault.offset is None else min(fault.offset, size - 1)
