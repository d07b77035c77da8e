"""A diagnosis for people, and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import click

from .codes import CODES
from .diagnosis import Diagnosis
from .findings import SEVERITIES, Finding

#: Of the JSON: raised when a field changes its meaning or goes.
VERSION = 1
_COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}


def document(found: Diagnosis) -> dict[str, Any]:
    """The diagnosis as plain data, for ``--json`` and tickets; docs/doctor.md explains every field."""
    return {
        "version": VERSION,
        "context": found.context.kube_context,
        "namespace": found.context.namespace,
        "at": found.at.isoformat(),
        "severity": found.severity or "ok",
        "exit_code": found.exit_code,
        "findings": [_finding(each) for each in found.findings],
        "gaps": [{"what": what, "why": why} for what, why in found.gaps],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    code = CODES[finding.code]
    fields = asdict(replace(finding, keys=frozenset()))  # there may be thousands
    del fields["keys"]
    return {**fields, "meaning": code.meaning, "notebook": f"notebooks/{code.notebook}.ipynb"}


def summary(found: Diagnosis) -> str:
    """In one line."""
    counts = {each: sum(finding.severity == each for finding in found.findings) for each in SEVERITIES}
    words = [f"{count} {name}{'s' if count > 1 and name != 'info' else ''}" for name, count in counts.items() if count]
    return f"{found.context.namespace}: {', '.join(words) or 'nothing is wrong'}"


def lines(found: Diagnosis) -> Iterator[str]:
    """For a terminal; click takes the colours away where there is none."""
    yield click.style(summary(found), bold=True)
    for finding in found.findings:
        yield ""
        yield from _lines(finding)
    if found.gaps:
        yield ""
        yield click.style("could not be examined", bold=True)
        yield from (f"  {what}: {why}" for what, why in found.gaps)


def _lines(finding: Finding) -> Iterator[str]:
    head = click.style(f"{finding.severity.upper()} {finding.code}", fg=_COLOURS[finding.severity], bold=True)
    yield f"{head}  {finding.object}" + (f" ({finding.count} times)" if finding.count > 1 else "")
    yield f"  {finding.cause}"
    for each in finding.evidence:
        yield click.style(f"  {each.kind:<6} {each.object}: {each.line}", dim=True)
    for position, fix in enumerate(finding.fix):
        yield f"  {'fix   ' if position == 0 else 'or    '} {fix}"
    if finding.consequences:
        yield f"  hence  {'; '.join(finding.consequences)}"
    yield f"  read   notebooks/{CODES[finding.code].notebook}.ipynb"
