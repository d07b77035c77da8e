"""Tokens never appear: a whole run with secrets in its environment, and everything searched that it has written."""

from __future__ import annotations

import base64
import json
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import yaml

from conftest import Cluster
from vllm_sandbox.paths import sandbox_dir

from .conftest import ROOT, Runbook

#: Known to the sandbox's hub; gated models are granted to its owner.
HUB_TOKEN = "hf_sandbox_reader"
#: Without what takes long: loads, the usual guide's deployment, crowds.
BRIEF = [word for name in ("load", "outage", "crowd") for word in ("-p", f"rehearsal.{name}=false")]
OBJECTS = (
    "pods,configmaps,events,jobs,deployments,daemonsets,replicasets,services,networkpolicies,serviceaccounts,"
    "scaledobjects.keda.sh,horizontalpodautoscalers,persistentvolumeclaims,namespaces,nodes"
)
#: Where a cluster keeps Secrets and keys, which is what they are for: etcd, certificates, volumes of pods.
KEPT = re.compile(r"/(etcd|pki|volumes|containers)/|/(kubeconfig|tokens\.csv)$|\.(key|sock)$")
#: Tokens as their issuers make them.
TOKENS = re.compile(
    r"\b(hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{32,}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[\w-]{10,}|AIza[\w-]{35}|eyJhbGciOi[\w-]{20,}\.[\w-]+\.[\w-]+)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}"
)


def disguises(value: str) -> set[str]:
    """The value as it may show: plain, in a URL, in base64 wherever it begins in what is encoded."""
    found = {value, quote(value, safe="")}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + value.encode()).decode().rstrip("=")
        found.add(encoded[(0, 2, 3)[offset] : -1])  # characters that share bits with the neighbours left out
    return found


def logs(sandbox: Cluster) -> Iterator[tuple[str, str]]:
    """Every container's log, and that of its last run."""
    for pod in sandbox.get("pods", "", "-A")["items"]:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        for part in ([], ["--previous"]):
            said = sandbox.kubectl("-n", namespace, "logs", name, "--all-containers", *part, ok=False)
            yield f"logs of {namespace}/{name}", said


def written(sandbox: Cluster, runs: Path) -> Iterator[tuple[str, str]]:
    """Everything that a run leaves, by name: files of the run and of the sandbox, objects, logs."""
    for directory in (runs, sandbox_dir(sandbox.name)):
        for file in directory.rglob("*"):
            if file.is_file() and not file.is_symlink() and not KEPT.search(str(file)):
                yield str(file), file.read_bytes().decode(errors="replace")
    yield "objects", sandbox.kubectl("get", OBJECTS, "-A", "-o", "yaml")
    yield from logs(sandbox)


def search(texts: Iterator[tuple[str, str]], canaries: Mapping[str, str]) -> tuple[list[str], int]:
    """Where a canary shows, and how many characters were looked through."""
    wanted = {text: name for name, value in canaries.items() for text in disguises(value)}
    found, seen = [], 0
    for where, text in texts:
        seen += len(text)
        found += [f"{wanted[each]} in {where}" for each in wanted if each in text]
    return found, seen


def test_no_token_shows_in_anything_that_a_run_leaves(sandbox: Cluster, runbook: Runbook) -> None:
    canaries = {
        "HF_TOKEN": HUB_TOKEN,
        "VLLM_API_KEY": f"canary-key-{secrets.token_hex(12)}",
        "RUNBOOK_WEBHOOK_SECRET": f"canary-hook-{secrets.token_hex(12)}",
    }
    done = runbook("--to", "06", "--model", "llama-3.1-8b-instruct", *BRIEF, environment=canaries)
    assert done.code == 0, done.out + done.err
    kept = sandbox.get("secrets", "", "-n", "llm")["items"]
    values = {base64.b64decode(value).decode() for item in kept for value in (item.get("data") or {}).values()}
    assert {canaries["HF_TOKEN"], canaries["VLLM_API_KEY"]} <= values  # both were used
    user = yaml.safe_load(sandbox.kubeconfig.read_text())["users"][0]["user"]
    texts = iter([("output", done.out + done.err), *written(sandbox, done.directory.parent)])
    found, seen = search(texts, canaries | {"kubeconfig": user["token"]})
    assert not found and seen > 500_000
    names = [name for name, _ in written(sandbox, done.directory.parent)]
    for part in (
        "report.html",
        "summary.json",
        "junit.xml",
        "04_deploy_vllm.ipynb",
        "kube-apiserver.log",
        "daemon.log",
    ):
        assert any(name.endswith(part) for name in names), part


def test_the_search_finds_what_is_hidden() -> None:
    value = "canary-key-0123456789abcdef"
    for text in (value, f"u={quote(value)}", json.dumps({"x": value})):
        assert search(iter([("here", text)]), {"X": value})[0] == ["X in here"]
    for before in ("", "a", "ab", "abc"):
        text = base64.b64encode(f"{before}{value}:more".encode()).decode()
        assert search(iter([("here", text)]), {"X": value})[0] == ["X in here"], before
    assert search(iter([("here", "canary-key-another")]), {"X": value})[0] == []


def test_no_token_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = []
    for name in filter(None, listed.split("\0")):
        text = (ROOT / name).read_bytes().decode(errors="ignore") if (ROOT / name).is_file() else ""
        found += [f"{name}: {match.group()[:12]}…" for match in TOKENS.finditer(text)]
    assert not found
