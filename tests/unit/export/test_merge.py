"""What objects have in common, and the least patches."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_runbook.export.merge import Patches, common, overlay, patches


def item(spec: Any, api_version: str = "apps/v1") -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": "Thing", "metadata": {"name": "x"}, "spec": spec}


def test_common_is_what_most_have() -> None:
    assert common([{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1, "b": 3, "c": 4}]) == {"a": 1, "b": 3}
    assert common([{"a": [1]}, {"a": [2]}]) == {"a": [1]}


def test_common_goes_into_named_elements() -> None:
    one, two = [{"name": "a", "x": 1}, {"name": "b"}], [{"name": "a", "x": 1, "y": 2}, {"name": "b"}]
    assert common([one, one, two]) == one
    assert common([one, [{"name": "b"}], [{"name": "b"}]]) == [{"name": "b"}]


@pytest.mark.parametrize(
    ("base", "wanted", "needed"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": 1, "e": 3}}, {"a": None, "b": {"d": None, "e": 3}}),
        ({"a": [1, 2]}, {"a": [2]}, {"a": [2]}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": None}}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 1}, {"a": True}, {"a": True}),
    ],
)
def test_overlay_of_values(base: Any, wanted: Any, needed: Any) -> None:
    assert overlay(base, wanted) == needed


class TestPatches:
    def test_equal_objects_need_none(self) -> None:
        assert patches(item({"a": 1}), item({"a": 1})) == Patches()

    def test_single_elements_by_name(self) -> None:
        old = item({"containers": [{"name": "a", "image": "x", "args": ["1"]}, {"name": "b", "image": "y"}]})
        new = item({"containers": [{"name": "a", "image": "z", "args": ["1"]}, {"name": "b", "image": "y"}]})
        assert patches(old, new) == Patches({"spec": {"containers": [{"name": "a", "image": "z"}]}})

    def test_elements_before_a_changed_one_are_named_to_keep_the_order(self) -> None:
        old = item({"env": [{"name": "A"}, {"name": "B", "value": "1"}, {"name": "C"}]})
        new = item({"env": [{"name": "A"}, {"name": "B", "value": "2"}, {"name": "C"}]})
        assert patches(old, new) == Patches({"spec": {"env": [{"name": "A"}, {"name": "B", "value": "2"}]}})

    def test_lists_that_a_merge_would_only_add_to_are_replaced_by_an_operation(self) -> None:
        old, new = item({"env": [{"name": "A"}, {"name": "B"}]}), item({"env": [{"name": "B"}]})
        assert patches(old, new) == Patches({}, [{"op": "replace", "path": "/spec/env", "value": [{"name": "B"}]}])

    def test_custom_resources_have_no_schema(self) -> None:
        old = item({"env": [{"name": "A", "x": 1}]}, "keda.sh/v1alpha1")
        new = item({"env": [{"name": "A", "x": 2}]}, "keda.sh/v1alpha1")
        assert patches(old, new) == Patches({"spec": {"env": [{"name": "A", "x": 2}]}})

    def test_a_mapping_that_becomes_empty_and_keys_with_slashes(self) -> None:
        old, new = item({"a/b": {"c": 1}}), item({"a/b": {}})
        assert patches(old, new) == Patches({}, [{"op": "replace", "path": "/spec/a~1b", "value": {}}])
