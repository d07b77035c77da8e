"""Shortens CustomResourceDefinitions for this repository: without descriptions they are a quarter as long.

    python tools/schemas.py HEAD TARGET FILE...

writes the CRDs of all files into TARGET, below the comment lines of HEAD.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml


def main(head: str, target: str, *files: str) -> None:
    items = [item for file in files for item in yaml.safe_load_all(Path(file).read_text(encoding="utf-8")) if item]
    comment = "".join(f"# {line}\n" for line in head.splitlines())
    Path(target).write_text(comment + dump([without_descriptions(item) for item in items]), encoding="utf-8")


def dump(items: list[Any]) -> str:
    return yaml.safe_dump_all(items, default_flow_style=None, width=160, sort_keys=False)


def without_descriptions(value: Any, *, names: bool = False) -> Any:
    """The same without fields called description; ``names``: the keys of this mapping are somebody's names."""
    if isinstance(value, dict):
        return {
            key: without_descriptions(each, names=key == "properties")
            for key, each in value.items()
            if names or key != "description"
        }
    return [without_descriptions(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main(*sys.argv[1:])
