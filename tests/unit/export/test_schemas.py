"""What the tests hold schemas to be: closed, but where a schema says otherwise."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from .schemas import strict

ITEM: dict[str, Any] = {"properties": {"name": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        (ITEM, {"name": "x"}, {"nme": "x"}),  # without a type
        ({"type": "object", **ITEM}, {"name": "x"}, {"nme": "x"}),
        ({"type": "array", "items": ITEM}, [{"name": "x"}], [{"nme": "x"}]),
        ({"type": "object", "additionalProperties": ITEM}, {"any": {"name": "x"}}, {"any": {"nme": "x"}}),
        ({"properties": {"inner": ITEM}}, {"inner": {"name": "x"}}, {"inner": {"nme": "x"}}),
        ({**ITEM, "anyOf": [{"properties": {"name": {"pattern": "x"}}}]}, {"name": "x"}, {"name": "y"}),
    ],
)
def test_unknown_fields_are_refused(schema: dict[str, Any], right: Any, wrong: Any) -> None:
    jsonschema.validate(right, strict(schema))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, strict(schema))


def test_where_anything_may_stand_it_may() -> None:
    jsonschema.validate({"nme": "x"}, strict({**ITEM, "x-kubernetes-preserve-unknown-fields": True}))
    jsonschema.validate({"b": 1}, strict({"properties": {"a": {}, "b": {}}, "anyOf": [{"properties": {"a": {}}}]}))
