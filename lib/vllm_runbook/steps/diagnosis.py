"""Notebook 09: the doctor's findings as tables, and what they mean for the verdict."""

from __future__ import annotations

import plotly.graph_objects as go

from ..doctor import CODES, Diagnosis, context_of, diagnose, examine
from ..doctor.snapshot import owner_of
from ..notebook import Notebook
from ..plots import phase_of, workloads_figure
from ..tables import Table

#: Symptom, the first question, where the answer is: how the rules tell them apart.
QUESTIONS = (
    ("Pending", "which filter of the scheduler leaves no node?", "kubectl describe pod, kubectl get nodes -o wide"),
    ("ContainerCreating for minutes", "image, volume or network?", "kubectl get events --field-selector type=Warning"),
    ("ImagePullBackOff", "404, 401 or 429?", "kubectl get pod -o jsonpath='{..waiting.message}'"),
    ("CrashLoopBackOff", "who ended it: kernel, probe, itself?", "kubectl describe pod, kubectl logs --previous"),
    ("restarts while it loads", "is the startup probe shorter than the load?", "kubectl get events (Killing)"),
    ("the prefetch Job fails", "hub (network, token, licence) or volume?", "kubectl logs job/prefetch-weights"),
    ("claim Pending", "no class, failed, or waiting for a pod?", "kubectl describe pvc"),
    ("no scaling under load", "does the HPA read a value?", "kubectl describe hpa, kubectl get scaledobject"),
    ("a drain hangs", "which budget allows no eviction?", "kubectl get pdb"),
    ("pods vanish", "preempted, evicted, or node away?", "kubectl get events, kubectl get nodes"),
)


def look(book: Notebook) -> Diagnosis:
    """Examine the namespace; notes figures and the check.

    Raises:
        RunbookError: the namespace isn't there, or may not be read at all.
    """
    with book.earlier(essential=True):
        found = diagnose(examine(book.cluster, context_of(book.params)))
    for severity in ("error", "warning"):
        book.figure(f"{severity}s", sum(each.severity == severity for each in found.findings))
    wrong = [each for each in found.findings if each.severity == "error"]
    words = "; ".join(f"{each.code}: {each.object}: {each.cause}" for each in wrong)
    book.check("nothing in the namespace is broken", not wrong, words)
    return found


def findings(found: Diagnosis) -> Table:
    """What is wrong, why, and what mends it."""
    rows = [
        (each.severity, each.code, each.object, each.cause, "\n".join(each.fix), CODES[each.code].notebook)
        for each in found.findings
    ]
    empty = ("", "", found.context.namespace, "nothing is wrong", "", "")
    return Table(("severity", "code", "object", "cause", "fix", "notebook"), rows or [empty])


def evidence(found: Diagnosis) -> Table:
    """What was seen: fields, events, log lines."""
    rows = [(each.code, seen.kind, seen.object, seen.line) for each in found.findings for seen in each.evidence]
    return Table(("finding", "seen as", "object", "words"), rows or [("none", "", "", "")])


def gaps(found: Diagnosis) -> Table:
    """What could not be examined."""
    return Table(("could not be examined", "why"), found.gaps or [("nothing", "everything could be read")])


def workloads(book: Notebook) -> go.Figure:
    """The pods of the namespace, by workload and phase."""
    pods = book.cluster.list("Pod", book.namespace)
    return workloads_figure((" ".join(owner_of(pod)), phase_of(pod)) for pod in pods)


def questions() -> Table:
    """How symptoms are told apart."""
    return Table(("symptom", "first question", "where the answer is"), QUESTIONS)
