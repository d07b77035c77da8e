"""The YAML files in ``manifests/``, with the platform's namespace and images put in.

The files are valid as they stand. Whatever else a step changes, it names field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .cluster import Object, changed, get_in, load
from .errors import RunbookError
from .files import directories
from .params import Platform

#: Namespace that the files are written for.
WRITTEN_FOR = "llm"


def find(name: str) -> Path:
    """A manifest file, such as ``vllm/service.yaml``.

    It is looked for in the directory that RUNBOOK_MANIFESTS names, then as :mod:`.files` says.

    Raises:
        RunbookError: there is none.
    """
    roots = directories("manifests")
    for root in roots:
        if (root / name).is_file():
            return root / name
    raise RunbookError(f"There is no manifest {name}", why=f"looked in {', '.join(map(str, roots))}")


def manifests(name: str) -> list[Object]:
    """All objects of a manifest file, as they stand."""
    return load(find(name))


def mirrored(item: Object, platform: Platform) -> Object:
    """An object whose containers' images come from where this platform pulls them; others stay as they are."""
    pod = "spec" if item["kind"] == "Pod" else "spec.template.spec"
    fields = {
        f"{pod}.{kind}[{number}].image": platform.image(container["image"])
        for kind in ("initContainers", "containers")
        for number, container in enumerate(get_in(item, f"{pod}.{kind}", ()))
    }
    return changed(item, fields)


def manifest(name: str, namespace: str, fields: Mapping[str, Any] | None = None) -> Object:
    """The (one) object of a manifest file, for a namespace, with some fields set (see cluster.changed)."""
    (item,) = manifests(name)
    if item["metadata"].get("namespace"):
        item = changed(item, {"metadata.namespace": namespace})
    elif item["kind"] == "Namespace":
        item = changed(item, {"metadata.name": namespace})
    return changed(item, fields or {})
