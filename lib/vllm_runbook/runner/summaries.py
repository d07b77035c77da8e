"""A run for machines: summary.json and junit.xml."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from typing import Any
from xml.etree import ElementTree

from . import figures
from .secrets import scrub
from .state import FAILED, INTERRUPTED, NOT_RUN, PASSED, SKIPPED, Run, Step


def write(run: Run) -> None:
    """Write both files."""
    (run.directory / "summary.json").write_text(scrub(json.dumps(summary(run), indent=1)) + "\n", encoding="utf-8")
    tree = ElementTree.ElementTree(junit(run))
    ElementTree.indent(tree)
    tree.write(run.directory / "junit.xml", encoding="utf-8", xml_declaration=True)


def summary(run: Run) -> dict[str, Any]:
    """Status, parameters, figures by flat names (docs/figures.md), and every notebook's result."""
    return {
        "status": run.status,
        "started": run.started,
        "ended": run.ended,
        "version": version("vllm-runbook"),
        "parameters": run.parameters,
        "changed": run.changed,
        "simulated": any(step.result.get("simulated") for step in run.steps),
        "figures": figures.flat(run),
        "notebooks": [asdict(step) for step in run.steps],
    }


def junit(run: Run) -> ElementTree.Element:
    """One test case per notebook; its checks are the output."""
    states = [step.status for step in run.steps]
    counts = {
        "tests": len(states),
        "failures": states.count(FAILED),
        "errors": states.count(INTERRUPTED),
        "skipped": states.count(NOT_RUN) + states.count(SKIPPED),
        "time": sum(step.seconds for step in run.steps),
    }
    suite = ElementTree.Element("testsuite", {"name": "vllm-runbook", "timestamp": run.started})
    suite.attrib.update({name: f"{value:g}" for name, value in counts.items()})
    for step in run.steps:
        _case(suite, step)
    return suite


def _case(suite: ElementTree.Element, step: Step) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", {"classname": "notebooks", "name": step.name, "time": f"{step.seconds:g}"}
    )
    if step.status == FAILED:
        words = f"{step.error.get('ename')}: {step.error.get('evalue')}"
        ElementTree.SubElement(case, "failure", {"message": scrub(words.splitlines()[0])}).text = scrub(words)
    elif step.status != PASSED:
        kind = "error" if step.status == INTERRUPTED else "skipped"
        ElementTree.SubElement(case, kind, {"message": step.skipped or step.status})
    checks = step.result.get("checks", [])
    if checks:
        lines = [f"{'ok ' if check['ok'] else 'NOT'} {check['name']} {check['detail']}".rstrip() for check in checks]
        ElementTree.SubElement(case, "system-out").text = scrub("\n".join(lines))
