"""The Job's manifest, as it stands and with another duration, in a namespace that admits restricted pods only."""

from __future__ import annotations

import json

from conftest import Cluster
from vllm_runbook.manifests import manifest


def test_the_manifest_is_valid_as_it_stands(cluster: Cluster) -> None:
    job = manifest("load/job.yaml", cluster.namespace)
    said = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(job))
    assert said == "job.batch/load created (server dry run)\n"
    assert job["spec"]["backoffLimit"] == 0 and "ttlSecondsAfterFinished" not in job["spec"]


def test_the_job_runs_and_a_service_without_endpoints_drops_everything(cluster: Cluster) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", cluster.namespace, label)
    cluster.kubectl("create", "service", "clusterip", "inference", "--tcp=8000:8000")
    container = "spec.template.spec.containers[0]"
    url = f"http://inference.{cluster.namespace}.svc:8000"
    args = [f"--url={url}", "--model=qwen3-8b", "--rate=10", "--seconds=1", "--arrivals=fixed"]
    cluster.apply(manifest("load/job.yaml", cluster.namespace, {f"{container}.args": args}))
    cluster.wait("job/load", "condition=Complete")
    events = [json.loads(line) for line in cluster.kubectl("logs", "job/load").splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["start", "result"]
    result = events[-1]
    assert (result["sent"], result["dropped"], result["rejected"]) == (10, 10, 0)
    assert result["reasons"] == {"http_502": 10}
    assert "port 8000 has no endpoints" in result["examples"]["http_502"]


def test_wrong_arguments_are_the_pods_last_words(cluster: Cluster) -> None:
    args = ["--url=http://inference:8000", "--model=qwen3-8b", "--rate=0", "--seconds=1"]
    cluster.apply(manifest("load/job.yaml", cluster.namespace, {"spec.template.spec.containers[0].args": args}))
    cluster.wait("job/load", "condition=Failed")
    (pod,) = cluster.get("pods", "", "-l", "app.kubernetes.io/name=load")["items"]
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 2
    assert ended["message"].startswith("Invalid value for '--rate'")
