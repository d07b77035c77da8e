"""Every code is documented, linked to a notebook that is there, and made by some rule."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from vllm_runbook.doctor import CODES, report

from .recorded import crashing, diagnosed, pod

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")


def test_every_code_is_documented_with_its_meaning_and_notebook() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \| \[\d\d\]\(\.\./notebooks/(\w+)\.ipynb\) \|$", TEXT, re.MULTILINE)
    assert {code: (meaning, notebook) for code, meaning, notebook in rows} == {
        name: (code.meaning, code.notebook) for name, code in CODES.items()
    }


def test_every_notebook_is_there() -> None:
    for code in CODES.values():
        assert (ROOT / "notebooks" / f"{code.notebook}.ipynb").is_file(), code


def test_every_code_is_made_by_a_rule_and_hides_only_codes_that_exist() -> None:
    rules = "".join(file.read_text() for file in (ROOT / "lib/vllm_runbook/doctor/rules").glob("*.py"))
    for name, code in CODES.items():
        assert f'"{name}"' in rules, name
        assert code.hides <= set(CODES)


def test_every_field_of_the_json_is_documented() -> None:
    found = diagnosed(pod(statuses=[crashing()]), logs={"vllm-abc-1": "boom"}, gaps=[("Node objects", "forbidden")])
    document = json.loads(json.dumps(report.document(found)))
    assert document["severity"] == "error" and document["exit_code"] == 2
    fields = {*document, *document["findings"][0], *document["findings"][0]["evidence"][0], *document["gaps"][0]}
    assert {field for field in fields if f"`{field}`" not in TEXT} == set()


def test_people_read_the_same() -> None:
    found = diagnosed(pod(statuses=[crashing()]), logs={"vllm-abc-1": "boom"}, gaps=[("Node objects", "forbidden")])
    text = "\n".join(report.lines(found))
    for word in ("llm: 1 error", "crash-loop", "Deployment llm/vllm", "boom", "04_deploy_vllm", "forbidden"):
        assert word in text
    assert "nothing is wrong" in report.summary(dataclasses.replace(found, findings=()))
