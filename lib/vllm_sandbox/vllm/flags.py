"""The real server's flags, from its own help (flags.txt): an unknown one ends the start, as in production."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from vllm_sandbox.vllm.lora import Modules

_LINE = re.compile(r"^(?P<names>-.*?)(?:\s{4}default: (?P<default>.*))?$")
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_INTEGERS = {
    "--port",
    "--max-num-seqs",
    "--tensor-parallel-size",
    "--pipeline-parallel-size",
    "--max-num-queued-reqs",
    "--max-num-queued-tokens",
    "--shutdown-timeout",
    "--block-size",
    "--num-gpu-blocks-override",
    "--stream-interval",
    "--max-loras",
}
_HUMAN = {"--max-model-len", "--max-num-batched-tokens", "--kv-cache-memory-bytes"}
_FLOATS = {"--gpu-memory-utilization"}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of ``vllm serve``; exits with 2 and the real server's words when one is wrong."""
    parser = build()
    known, unknown = parser.parse_known_args([_dashes(word) for word in argv])
    if unknown:
        argparse.ArgumentParser(prog="vllm", usage="vllm [-h] [-v] {serve,launch,bench,…} ...").error(
            f"unrecognized arguments: {' '.join(unknown)}"
        )
    return known


def build() -> argparse.ArgumentParser:
    """A parser with every flag of flags.txt."""
    parser = argparse.ArgumentParser(prog="vllm serve", usage="vllm serve [model_tag] [options]", allow_abbrev=False)
    parser.add_argument("model_tag", nargs="?")
    for names, default in table():
        _add(parser, names, default)
    return parser


def table() -> Iterator[tuple[str, str]]:
    """Each flag's names with their values, and its default, as in the help."""
    for line in resources.files("vllm_sandbox.vllm").joinpath("flags.txt").read_text().splitlines():
        if (match := _LINE.match(line)) and "--help" not in line:
            yield match["names"], match["default"] or "None"


def _add(parser: argparse.ArgumentParser, names: str, default: str) -> None:
    forms = [part for part in re.split(r",\s+(?=-)", names) if part]
    flags = [form.split(" ", 1)[0] for form in forms]
    main = next(flag for flag in flags if flag.startswith("--"))
    values = forms[0].partition(" ")[2].strip()
    if f"--no-{main[2:]}" in flags:
        positive = [flag for flag in flags if not flag.startswith("--no-")]
        parser.add_argument(*positive, action=argparse.BooleanOptionalAction, default=_bool(default))
    elif not values:
        parser.add_argument(*flags, action="store_true")
    else:
        options: dict[str, Any] = {"default": _default(main, default)}
        if "..." in values:
            options["nargs"] = "+"
        elif values.startswith("["):
            options["nargs"] = "?"
        if (choices := _choices(values)) and "..." not in values:
            options["choices"] = choices
        if main == "--lora-modules":
            options["action"] = Modules
        if kind := _kind(main):
            options["type"] = kind
        parser.add_argument(*flags, **options)


def _kind(flag: str) -> Any:
    if flag in _INTEGERS:
        return int
    if flag in _HUMAN:
        return human_readable_int
    return float if flag in _FLOATS else None


def human_readable_int(text: str) -> int:
    """``16k`` is 16000, ``16K`` is 16384, ``1.5k`` is 1500."""
    if text and text[-1] in _UNITS:
        return int(float(text[:-1]) * _UNITS[text[-1]])
    return int(text)


def _choices(values: str) -> list[str] | None:
    """``{a,b}``, unless other values are allowed too."""
    if match := re.fullmatch(r"\{([^{}]*)\}", values):
        return match.group(1).split(",")
    return None


def _default(flag: str, text: str) -> Any:
    if text == "None":
        return None
    kind = _kind(flag)
    return kind(text) if kind else text


def _bool(text: str) -> bool | None:
    return {"True": True, "False": False}.get(text)


def _dashes(word: str) -> str:
    """The real parser takes ``--max_model_len`` for ``--max-model-len``."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value
