"""YAML for people and for every parser: readable, and never another value than the one that went in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

#: Plain words that some parser takes for something else than a string: YAML 1.1 and 1.2, Go's and Python's.
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "~", ""}
_NUMBER_LIKE = re.compile(r"[-+]?[.0-9][-+.:0-9a-fA-FoxOXtTzZ_ ]*$")  # and dates
#: Nothing is folded: the two dumpers would do it differently.
_WIDTH = 1_000_000


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """libyaml's, where it is there: KEDA's definitions take the other one seconds."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = None
    if "\n" in value:
        style = "|"
    elif value.lower().lstrip("-+.") in _WORDS or _NUMBER_LIKE.match(value):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump(value: Any) -> str:
    """One document."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)


def documents(items: Iterable[Any]) -> str:
    """Several documents."""
    return "---\n".join(dump(item) for item in items)


def comment(text: str) -> str:
    """Text as lines of comment."""
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())
