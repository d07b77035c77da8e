"""A chart: templates with the fields that users change as values, and a file of values for each platform.

CustomResourceDefinitions are templates, too, so that upgrades reach them: Helm never touches its ``crds/`` again. That
is one more reason to install one layer after the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from ..cluster import Object, Ref, changed, get_in
from . import argocd, flux, knobs, readme, text
from .argocd import CLAIM_KINDS
from .contents import LAYERS, Contents, Item
from .merge import most, overlay
from .tree import HEADER, Request

Files = dict[str, str]
_IGNORED = "README.md\n.vllm-runbook-export.yaml\nargocd/\nflux/\n"
_MARK = re.compile(r"RUNBOOKVALUE(\d+)END")
_NOTES = "NOTESRUNBOOK"


def files(request: Request, platforms: Sequence[Contents]) -> Files:
    """Every file of the chart, by path."""
    chart = _Chart(platforms)
    found: Files = {
        "Chart.yaml": text.comment(HEADER) + text.dump(_about(platforms)),
        ".helmignore": _IGNORED,
        **{name: f"{{{{- /* {HEADER} */ -}}}}\n{content}" for name, content in chart.templates.items()},
        "values.yaml": text.comment(HEADER) + _sections(chart.shared),
    }
    for platform in platforms:
        values = chart.own[platform.platform]
        words = f"Values of {platform.platform} that differ from values.yaml" + ("." if values else ": none.")
        found[f"values-{platform.platform}.yaml"] = text.comment(f"{words}\n{HEADER}") + text.dump(values)
        found |= argocd.helm_files(request, platform)
        found |= flux.helm_files(request, platform)
    found["README.md"] = readme.helm(request, platforms)
    return found


def _about(platforms: Sequence[Contents]) -> Object:
    return {
        "apiVersion": "v2",
        "name": "vllm",
        "description": f"vLLM with {platforms[0].params.model.hub_id}: what the runbook's notebooks leave in place",
        "type": "application",
        "version": version("vllm-runbook"),
        "appVersion": platforms[0].params.platform.images.vllm.rpartition(":")[2],
    }


class _Chart:
    """Templates and values, from the objects of all platforms.

    Attributes:
        templates: contents by path.
        shared: values.yaml; own: what each platform has different.
    """

    def __init__(self, platforms: Sequence[Contents]) -> None:
        self._objects: dict[tuple[str, Ref], dict[str, Item]] = {}
        for platform in platforms:
            for item in platform.items:
                self._objects.setdefault(item.key, {})[platform.platform] = item
        #: By platform, then by dotted name; what a platform doesn't use isn't there.
        self._values: dict[str, dict[str, Any]] = {platform.platform: {} for platform in platforms}
        self._flags = self._components()
        parts: dict[str, list[str]] = {}
        for (layer, ref), items in self._objects.items():
            ending = "-crds" if ref.kind == "CustomResourceDefinition" else ""
            name = f"templates/{layer}/{next(iter(items.values())).notebook}{ending}.yaml"
            parts.setdefault(name, []).append(self._template(layer, ref, items))
        self.templates = {name: "".join(texts) for name, texts in parts.items()}
        flat = self._common()
        self.shared = {
            "layers": dict.fromkeys(LAYERS, True),
            "annotations": {name: {} for name in (*LAYERS, "job", "claims")},
            **_nested(flat),
        }
        self.own = {name: overlay(_nested(flat), _nested({**flat, **values})) for name, values in self._values.items()}

    def _common(self) -> dict[str, Any]:
        """A value for every name: null where most platforms that use it have none."""
        found = {}
        for name in dict.fromkeys(name for values in self._values.values() for name in values):
            used = [values[name] for values in self._values.values() if name in values]
            there = [value for value in used if value is not None]
            found[name] = most(there) if len(there) * 2 >= len(used) else None
        return found

    def _components(self) -> dict[tuple[str, Ref], list[str]]:
        """The flags of every object: its component's; and its own if it isn't always there when its component is."""
        members: dict[str, list[tuple[str, Ref]]] = {}
        for (layer, ref), items in self._objects.items():
            name = knobs.component(next(iter(items.values())).notebook, layer, ref)
            members.setdefault(name, []).append((layer, ref))
        found: dict[tuple[str, Ref], list[str]] = {}
        for name, keys in members.items():
            having = {p: not name or any(p in self._objects[key] for key in keys) for p in self._values}
            for key in keys:
                there = {platform: platform in self._objects[key] for platform in self._values}
                flags = [f"components.{name}"] if name else []
                flags += [knobs.flag(*key)] if there != having else []
                found[key] = flags
                for platform in self._values:
                    for flag in flags:
                        self._values[platform][flag] = (having if flag.startswith("components.") else there)[platform]
        return found

    def _template(self, layer: str, ref: Ref, items: dict[str, Item]) -> str:
        chosen = self._knobs(ref, {name: item.object for name, item in items.items()})
        item = next(iter(items.values())).object
        for at, knob in enumerate(chosen):
            item = changed(item, {knob.path: f"RUNBOOKVALUE{at}END"})
        annotations = {**item["metadata"].get("annotations", {}), _NOTES: _NOTES}
        body = text.dump(changed(item, {"metadata.annotations": annotations})).replace("{{", '{{ "{{" }}')
        body = _optional(_annotated(body, layer, ref, alone=len(annotations) == 1), chosen)
        body = _MARK.sub(lambda mark: f"{{{{ .Values.{chosen[int(mark[1])].name} | toJson }}}}", body)
        flags = [f".Values.layers.{layer}", *(f".Values.{flag}" for flag in self._flags[layer, ref])]
        condition = flags[0] if len(flags) == 1 else f"and {' '.join(flags)}"
        return f"{{{{- if {condition} }}}}\n---\n{body}{{{{- end }}}}\n"

    def _knobs(self, ref: Ref, objects: dict[str, Object]) -> list[knobs.Knob]:
        """The fields that are values, with each platform's value noted."""
        items = list(objects.values())
        found = [knob for knob in knobs.named(ref, items) if self._agrees(knob, objects)]
        found += knobs.differing(ref, items, found)
        for knob in found:
            for platform, item in objects.items():
                self._values[platform][knob.name] = get_in(item, knob.path)
        return found

    def _agrees(self, knob: knobs.Knob, objects: dict[str, Object]) -> bool:
        """Whether no other object has given the value something else."""
        return all(
            knob.name not in self._values[platform] or self._values[platform][knob.name] == get_in(item, knob.path)
            for platform, item in objects.items()
        )


def _nested(flat: dict[str, Any]) -> Object:
    """Dotted names as mappings; the sections in their order."""
    result: Object = {}
    for name, value in sorted(flat.items(), key=lambda pair: list(knobs.SECTIONS).index(pair[0].split(".")[0])):
        target = result
        *parents, last = name.split(".")
        for part in parents:
            target = target.setdefault(part, {})
        target[last] = value
    return result


def _optional(body: str, chosen: Sequence[knobs.Knob]) -> str:
    """Lines of optional fields, each in a condition."""
    lines = []
    for line in body.splitlines(keepends=True):
        mark = _MARK.search(line)
        if mark and chosen[int(mark[1])].optional:
            name = chosen[int(mark[1])].name
            line = f'{{{{- if not (kindIs "invalid" .Values.{name}) }}}}\n{line}{{{{- end }}}}\n'
        lines.append(line)
    return "".join(lines)


def _annotated(body: str, layer: str, ref: Ref, *, alone: bool) -> str:
    """The place where annotations of the values go."""
    sources = [f".Values.annotations.{layer}"]
    sources += [".Values.annotations.job"] if ref.kind == "Job" else []
    sources += [".Values.annotations.claims"] if ref.kind in CLAIM_KINDS.split("|") else []
    merged = sources[0] if len(sources) == 1 else f"merge dict {' '.join(reversed(sources))}"
    own = f"    {_NOTES}: {_NOTES}\n"
    if alone:
        return body.replace(
            f"  annotations:\n{own}", f"{{{{- with {merged} }}}}\n  annotations: {{{{ toJson . }}}}\n{{{{- end }}}}\n"
        )
    return body.replace(own, f"{{{{- with {merged} }}}}\n{{{{ toYaml . | indent 4 }}}}\n{{{{- end }}}}\n")


def _sections(values: Object) -> str:
    parts = []
    for name, words in knobs.SECTIONS.items():
        if name in values:
            parts.append(text.comment(words) + text.dump({name: values[name]}))
    assert len(parts) == len(values), sorted(values)
    return "\n".join(parts)
