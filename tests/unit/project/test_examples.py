"""The example of managed node groups, against eksctl's own schema (the others need an API server)."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "tests/data/schemas/eksctl.json").read_text())


def test_the_node_groups_are_valid() -> None:
    config = yaml.safe_load((ROOT / "manifests/spot/eks-nodegroups.yaml").read_text())
    jsonschema.validate(config, SCHEMA)
    floor, spot = config["managedNodeGroups"]
    assert floor["minSize"] >= 1 and not floor.get("spot")
    assert spot["spot"] and spot["minSize"] == 0


def test_the_schema_notices_a_typo() -> None:
    config = yaml.safe_load((ROOT / "manifests/spot/eks-nodegroups.yaml").read_text())
    config["managedNodeGroups"][1]["sopt"] = True
    with pytest.raises(jsonschema.ValidationError, match="sopt"):
        jsonschema.validate(config, SCHEMA)
