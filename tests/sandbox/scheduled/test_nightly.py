"""The nightly verification as a real CronJob: scheduled, run in the cluster, its report kept, taken away again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from accounts import LIGHT
from conftest import Cluster

from .conftest import clean, runbook

JOB, CLAIM = "verify-now", "runbook-results"
#: What is applied here; nothing of KEDA or Karpenter is looked for.
SMALL = [*LIGHT, "--model", "tiny", "-p", "autoscaling.install=existing", "-p", "provisioning.install=existing"]
READER = """
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: reader
      image: busybox:1.37
      command: [sh, -c, "cd /results && cat latest/summary.json && ls latest"]
      volumeMounts: [{name: results, mountPath: /results}]
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  volumes: [{name: results, persistentVolumeClaim: {claimName: runbook-results}}]
"""


@pytest.fixture(scope="module")
def llm(sandbox: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A served model, and the schedule."""
    runs = tmp_path_factory.mktemp("runs")
    served = runbook("run", "--to", "04", *SMALL, "--runs-dir", str(runs))
    assert served.returncode == 0, served.stdout + served.stderr
    there = Cluster(sandbox.name, sandbox.kubeconfig, "llm")
    done = runbook("schedule", *SMALL, "--cron", "0 2 * * *", "--keep", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "created CronJob llm/runbook-verify" in done.stdout
    yield there
    gone = runbook("run", "10", *SMALL, "-p", "delete_weights=true", "--runs-dir", str(runs))
    assert gone.returncode == 0, gone.stdout + gone.stderr
    clean(sandbox, "llm", "monitoring")


def last_line(llm: Cluster, job: str) -> str:
    return llm.kubectl("logs", f"job/{job}").rstrip().splitlines()[-1]


def test_again_changes_nothing_and_a_preview_never(llm: Cluster) -> None:
    again = runbook("schedule", *SMALL, "--cron", "0 2 * * *", "--keep", "3")
    assert again.returncode == 0 and "created" not in again.stdout and "updated" not in again.stdout, again.stdout
    preview = runbook("schedule", *SMALL, "--cron", "0 4 * * *", "--keep", "3", "--preview")
    assert "~ spec.schedule: 0 2 * * * -> 0 4 * * *" in preview.stdout and "nothing was changed" in preview.stdout
    assert llm.get("cronjob", "runbook-verify")["spec"]["schedule"] == "0 2 * * *"


def test_it_runs_in_the_cluster_and_its_report_stays(llm: Cluster) -> None:
    llm.kubectl("create", "job", "--from=cronjob/runbook-verify", JOB)
    llm.wait(f"job/{JOB}", "condition=complete", 240)
    line = last_line(llm, JOB)
    assert line.startswith("verify passed on in-cluster: 3 of 3 notebooks, "), line
    assert "nothing changed" in line
    llm.apply(READER)
    llm.wait("pod/reader", "jsonpath={.status.phase}=Succeeded")
    text, files = llm.kubectl("logs", "reader").rsplit("}\n", 1)
    assert json.loads(text + "}")["status"] == "passed"
    assert set(files.split()) >= {"report.html", "summary.json", "junit.xml", "30_verify.ipynb"}
    llm.kubectl("delete", "pod", "reader", "--grace-period=0", "--force")


def test_it_fails_when_something_drifted_and_the_last_line_says_what(llm: Cluster) -> None:
    llm.kubectl("label", "service", "inference", "app.kubernetes.io/name=other", "--overwrite")
    llm.kubectl("create", "job", "--from=cronjob/runbook-verify", "verify-drift")
    llm.wait("job/verify-drift", "condition=failed", 240)
    line = last_line(llm, "verify-drift")
    assert line.startswith("verify failed on in-cluster: 2 of 3 notebooks") and "Service llm/inference" in line
    assert "applied was" in line and "kubectl-label" in line
    status = llm.get("pods", "", "-l", "batch.kubernetes.io/job-name=verify-drift")["items"][0]["status"]
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 1


def test_without_rights_it_names_what_an_administrator_applies(llm: Cluster, tmp_path: Path) -> None:
    import yaml

    llm.kubectl("create", "serviceaccount", "nobody")
    document = yaml.safe_load(llm.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": llm.kubectl("create", "token", "nobody").strip()}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    llm.kubectl("create", "role", "nobody", "--verb=get", "--resource=leases.coordination.k8s.io")
    llm.kubectl("create", "rolebinding", "nobody", "--role=nobody", "--serviceaccount=llm:nobody")
    done = runbook("schedule", *SMALL, "-p", f"kubernetes.kubeconfig={file}")
    assert done.returncode == 2
    assert "may not create cronjobs.batch in llm" in done.stderr and "runbook roles verify" in done.stderr


def test_it_is_taken_away_and_the_reports_stay_unless_told(llm: Cluster) -> None:
    done = runbook("schedule", *SMALL, "--remove")
    assert done.returncode == 0, done.stderr
    assert "NotFound" in llm.kubectl("get", "cronjob", "runbook-verify", ok=False)
    assert "No resources" in llm.kubectl("get", "role", "-l", "app.kubernetes.io/part-of=vllm-runbook", ok=False)
    assert llm.get("pvc", CLAIM)["status"]["phase"] == "Bound"
    assert runbook("schedule", *SMALL, "--remove", "--delete-results").returncode == 0
    assert "NotFound" in llm.kubectl("get", "pvc", CLAIM, ok=False)
