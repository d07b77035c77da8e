"""A tree for Kustomize: what all platforms have in common, and for each an overlay of small patches."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..cluster import Object, Ref
from . import argocd, flux, readme, text
from .contents import LAYERS, MEANING, Contents, Item
from .merge import common, patches
from .tree import HEADER, Request

Files = dict[str, str]
_API = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


def files(request: Request, platforms: Sequence[Contents]) -> Files:
    """Every file of the tree, by path."""
    found: Files = {}
    for layer in LAYERS:
        base = _common(layer, platforms)
        if base:
            _base(found, layer, base)
        for each in platforms:
            if layer in each.layers:
                _overlay(found, layer, base, each)
    for each in platforms:
        whole = {**_API, "resources": each.layers}
        words = f"Everything on {each.platform}, to look at and to compare. To apply it take one layer after the other."
        found[f"overlays/{each.platform}/kustomization.yaml"] = _file(whole, words)
        found |= argocd.kustomize_files(request, each)
        found |= flux.kustomize_files(request, each)
    found["README.md"] = readme.kustomize(request, platforms)
    return found


def _common(layer: str, platforms: Sequence[Contents]) -> dict[Ref, Item]:
    """Objects that every platform has in this layer, as near to all of them as can be."""
    having: dict[Ref, list[Item]] = {}
    for each in platforms:
        for item in each.of(layer):
            having.setdefault(item.key[1], []).append(item)
    return {
        ref: Item(items[0].notebook, layer, common([item.object for item in items]))
        for ref, items in having.items()
        if len(items) == len(platforms)
    }


def _base(found: Files, layer: str, base: dict[Ref, Item]) -> None:
    folder, resources = f"base/{layer}", _write(found, f"base/{layer}", list(base.values()))
    words = f"{layer.capitalize()}: {MEANING[layer]}. What all platforms have; complete with an overlay only."
    found[f"{folder}/kustomization.yaml"] = _file({**_API, "resources": resources}, words)


def _overlay(found: Files, layer: str, base: dict[Ref, Item], platform: Contents) -> None:
    folder = f"overlays/{platform.platform}/{layer}"
    items = platform.of(layer)
    own = _write(found, folder, [item for item in items if item.key[1] not in base])
    shared = [f"../../../base/{layer}"] if base else []
    document: Object = {**_API, "resources": [*shared, *own]}
    changes = []
    for item in items:
        if item.key[1] in base:
            changes += _patches(found, folder, item, base[item.key[1]].object)
    if changes:
        document["patches"] = changes
    words = f"{layer.capitalize()} on {platform.platform}: {MEANING[layer]}."
    found[f"{folder}/kustomization.yaml"] = _file(document, words)


def _patches(found: Files, folder: str, item: Item, base: Object) -> list[Object]:
    """The patches of one object, written; and how kustomization.yaml names them."""
    change, ref = patches(base, item.object), item.key[1]
    name = f"patches/{file_name(ref)}"
    named: list[Object] = []
    if change.merge:
        meta = {"name": ref.name} | ({"namespace": ref.namespace} if ref.namespace else {})
        head = {"apiVersion": ref.version, "kind": ref.kind, "metadata": {**meta, **change.merge.get("metadata", {})}}
        found[f"{folder}/{name}.yaml"] = _file({**head, **change.merge, "metadata": head["metadata"]})
        named.append({"path": f"{name}.yaml"})
    if change.operations:
        group, _, version = ref.version.rpartition("/")
        target = {"group": group, "version": version, "kind": ref.kind, "name": ref.name, "namespace": ref.namespace}
        found[f"{folder}/{name}.json6902.yaml"] = text.comment(HEADER) + text.dump(change.operations)
        named.append({"path": f"{name}.json6902.yaml", "target": {key: part for key, part in target.items() if part}})
    return named


def file_name(ref: Ref) -> str:
    """A file name of an object, such as ``deployment.llm.vllm-inference``."""
    parts = [ref.kind, *([ref.namespace] if ref.namespace else []), ref.name]
    return re.sub(r"[^a-z0-9.-]+", "-", ".".join(parts).lower())


def _write(found: Files, folder: str, items: Sequence[Item]) -> list[str]:
    """Objects in files, one per notebook (and one for its CustomResourceDefinitions); returns the names, in order."""
    by_file: dict[str, list[Object]] = {}
    for item in items:
        ending = "-crds" if item.object["kind"] == "CustomResourceDefinition" else ""
        by_file.setdefault(f"{item.notebook}{ending}.yaml", []).append(item.object)
    names = sorted(by_file, key=lambda name: not name.endswith("-crds.yaml"))
    for name in names:
        found[f"{folder}/{name}"] = text.comment(HEADER) + text.documents(by_file[name])
    return names


def _file(document: Object, words: str = "") -> str:
    return text.comment(f"{words}\n{HEADER}".strip()) + text.dump(document)
