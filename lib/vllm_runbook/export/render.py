"""An exported tree, rendered by the programs that others will render it with."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml

from ..cluster import Object, ref_of
from ..errors import RunbookError
from ..tools import find
from .contents import Contents

#: What renders each form.
PROGRAMS = {"kustomize": "kubectl", "helm": "helm"}


def render(directory: Path, form: str, platform: str, *options: str) -> list[Object]:
    """The objects of one platform.

    Args:
        options: more arguments, such as ``--set=layers.serving=false`` for helm.

    Raises:
        RunbookError: kubectl or helm isn't there, or can't render it; or there is nothing to render.
    """
    if form not in PROGRAMS:
        next_step = "Its files are whole objects: kubectl diff -f compares them with the cluster."
        raise RunbookError(f"A tree for {form} is not rendered", next_step=next_step)
    name = PROGRAMS[form]
    program = find(name)
    if program is None:
        raise RunbookError(f"There is no {name} to render {directory} with", next_step=f"Put {name} on PATH.")
    overlay = directory / "overlays" / platform if form == "kustomize" else directory / f"values-{platform}.yaml"
    if not overlay.exists():
        raise RunbookError(f"{directory} has nothing for {platform}", why=f"there is no {overlay}")
    if form == "kustomize":
        command = [str(program), "kustomize", str(overlay), *options]
    else:
        command = [str(program), "template", "vllm", str(directory), "--values", str(overlay), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RunbookError(f"{name} can't render {overlay}", why=done.stderr.strip())
    return [item for item in yaml.load_all(done.stdout, Loader=_Loader) if item]


def unlike(items: Iterable[Object], wanted: Contents) -> list[str]:
    """How rendered objects are unlike the exported ones: names of those that differ, are missing or too many."""
    got = {ref_of(item): item for item in items}
    want = {item.key[1]: item.object for item in wanted.items}
    found = [f"{ref} differs" for ref in want if ref in got and got[ref] != want[ref]]
    found += [f"{ref} is missing" for ref in want if ref not in got]
    return found + [f"{ref} is too many" for ref in got if ref not in want]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: a date is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
