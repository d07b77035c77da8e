"""A container's environment variables, resolved as the kubelet resolves them."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from vllm_sandbox.node.quantity import parse

Object = dict[str, Any]
Fetch = Callable[[str, str], Awaitable[Object | None]]
"""``fetch("configmaps" | "secrets", name)``: the object in the pod's namespace, or None."""

_REFERENCE = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")


class ConfigError(Exception):
    """The container can't be created: its ConfigMap, Secret or key isn't there."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace ``$(NAME)``; an unknown name stays as written and ``$$`` is one dollar."""

    def one(match: re.Match[str]) -> str:
        if match.group(1) == "$":
            return "$"
        return values.get(match.group(2), match.group(0))

    return _REFERENCE.sub(one, text)


async def resolve(pod: Object, container: Object, fetch: Fetch, services: Iterable[Object]) -> dict[str, str]:
    """All variables of a container: Service links, envFrom, env (in this order of precedence).

    Raises:
        ConfigError: a ConfigMap, Secret or key that isn't optional doesn't exist.
    """
    links = pod["spec"].get("enableServiceLinks", True)
    values = service_variables(services, pod["metadata"]["namespace"], links=links)
    for source in container.get("envFrom", []):
        values |= await _from_source(source, fetch)
    for variable in container.get("env", []):
        value = await _value(variable, pod, container, fetch)
        if value is not None:
            values[variable["name"]] = expand(value, values)
    return values


def service_variables(services: Iterable[Object], namespace: str, *, links: bool) -> dict[str, str]:
    """``X_SERVICE_HOST``, ``X_PORT`` … of the namespace's Services and of ``kubernetes``.

    Source: Kubernetes documentation, "Service", discovering services by environment variables.
    """
    values: dict[str, str] = {}
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        is_api = meta["name"] == "kubernetes" and meta["namespace"] == "default"
        if spec.get("clusterIP") in (None, "", "None") or not spec.get("ports"):
            continue
        if not is_api and (not links or meta["namespace"] != namespace):
            continue
        values |= _link_variables(meta["name"].upper().replace("-", "_"), spec["clusterIP"], spec["ports"])
    return values


def _link_variables(prefix: str, ip: str, ports: list[Object]) -> dict[str, str]:
    first = ports[0]
    scheme = first.get("protocol", "TCP").lower()
    values = {
        f"{prefix}_SERVICE_HOST": ip,
        f"{prefix}_SERVICE_PORT": str(first["port"]),
        f"{prefix}_PORT": f"{scheme}://{ip}:{first['port']}",
    }
    for port in ports:
        protocol, number = port.get("protocol", "TCP"), str(port["port"])
        if port.get("name"):
            values[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = number
        link = f"{prefix}_PORT_{number}_{protocol}"
        values |= {
            link: f"{protocol.lower()}://{ip}:{number}",
            f"{link}_PROTO": protocol.lower(),
            f"{link}_PORT": number,
            f"{link}_ADDR": ip,
        }
    return values


async def _from_source(source: Object, fetch: Fetch) -> dict[str, str]:
    kind = "configmaps" if "configMapRef" in source else "secrets"
    ref = source.get("configMapRef") or source["secretRef"]
    found = await fetch(kind, ref["name"])
    if found is None:
        if ref.get("optional"):
            return {}
        raise ConfigError(f'{kind.removesuffix("s")} "{ref["name"]}" not found')
    return {source.get("prefix", "") + key: value for key, value in texts(found).items()}


async def _value(variable: Object, pod: Object, container: Object, fetch: Fetch) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return str(variable.get("value", ""))
    if ref := source.get("fieldRef"):
        return field(pod, ref["fieldPath"])
    if ref := source.get("resourceFieldRef"):
        return resource(pod, container, ref)
    kind = "configmaps" if "configMapKeyRef" in source else "secrets"
    ref = source.get("configMapKeyRef") or source.get("secretKeyRef") or {}
    found = await fetch(kind, ref.get("name", ""))
    value = texts(found).get(ref.get("key", "")) if found else None
    if value is None and not ref.get("optional"):
        what = f"couldn't find key {ref.get('key')} in" if found else "not found:"
        raise ConfigError(f"{what} {kind.removesuffix('s')} {pod['metadata']['namespace']}/{ref.get('name')}")
    return value


def texts(source: Object) -> dict[str, str]:
    """The data of a ConfigMap or Secret as text."""
    return {key: value.decode(errors="replace") for key, value in contents(source).items()}


def contents(source: Object) -> dict[str, bytes]:
    """The data of a ConfigMap or Secret as bytes."""
    if source.get("kind") == "Secret" or "type" in source:
        return {k: base64.b64decode(v) for k, v in (source.get("data") or {}).items()}
    plain = {k: v.encode() for k, v in (source.get("data") or {}).items()}
    return plain | {k: base64.b64decode(v) for k, v in (source.get("binaryData") or {}).items()}


def field(pod: Object, field_path: str) -> str:
    """A downward API field such as ``metadata.name`` or ``metadata.labels['app']``."""
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", field_path):
        return str(pod["metadata"].get(match.group(1), {}).get(match.group(2), ""))
    if field_path in ("metadata.labels", "metadata.annotations"):
        items = pod["metadata"].get(field_path.split(".")[1], {})
        return "\n".join(f'{key}="{value}"' for key, value in sorted(items.items()))
    if field_path in ("status.hostIPs", "status.podIPs"):
        return str(pod.get("status", {}).get(field_path.split(".")[1].removesuffix("s"), ""))
    value: Any = pod
    for part in field_path.split("."):
        value = value.get(part, {}) if isinstance(value, dict) else {}
    return "" if isinstance(value, dict) else str(value)


def resource(pod: Object, container: Object, ref: Object) -> str:
    """A downward API resource such as ``limits.memory``, in units of its divisor."""
    if name := ref.get("containerName"):
        container = next(c for c in pod["spec"]["containers"] if c["name"] == name)
    group, _, name = ref["resource"].partition(".")
    value = parse(container.get("resources", {}).get(group, {}).get(name, 0))
    divisor = parse(ref.get("divisor") or 1) or parse(1)
    return str(int(-(-value // divisor)))
