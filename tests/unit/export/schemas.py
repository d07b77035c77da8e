"""Schemas of custom resources, as an API server's strict validation reads them."""

from __future__ import annotations

from typing import Any


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with unknown fields refused: an API server prunes them, here they are typos.

    Objects are closed by their ``properties``, whether or not ``type`` is stated. What is below ``allOf``, ``anyOf``,
    ``oneOf`` and ``not`` only restricts values of fields that are described elsewhere, and stays as it is.
    """
    result = dict(schema)
    if "properties" in schema:
        result["properties"] = {key: strict(value) for key, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            result[key] = strict(schema[key])
    return result
