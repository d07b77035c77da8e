"""Containers that end, by their real words; and those that only look as if something were wrong."""

from __future__ import annotations

from typing import Any

import pytest

from .recorded import ago, codes, crashing, diagnosed, ended, event, item, pod, status

#: The last line that tells, as vLLM 0.32, huggingface_hub and this runbook's prefetch write it.
LINES = [
    ("bad-flag", "vllm: error: unrecognized arguments: --disable-log-requests"),
    ("bad-flag", "vllm serve: error: argument --dtype: invalid choice: 'fp7' (choose from 'auto', 'half')"),
    (
        "cuda-oom",
        "(EngineCore pid=9) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 448.00 MiB. GPU 0 has",
    ),
    (
        "cuda-oom",
        "ValueError: Free memory on device cuda:0 (1.2/79.1 GiB) on startup is less than desired GPU memory "
        "utilization (0.92, 72.8 GiB).",
    ),
    (
        "kv-cache-too-small",
        "ValueError: To serve at least one request with the model's max seq len (131072), (16.00 GiB KV cache is "
        "needed, which is larger than the available KV cache memory (3.50 GiB). Based on the available memory, the "
        "estimated maximum model length is 28672. Try increasing",
    ),
    (
        "kv-cache-too-small",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
    ),
    (
        "bad-config",
        "  Value error, User-specified max_model_len (4096) is greater than the derived max_model_len "
        "(max_position_embeddings=2048.0 or model_max_length=None in model's config.json).",
    ),
    ("bad-config", "  Value error, Total number of attention heads (4) must be divisible by tensor parallel size (3)."),
    ("bad-config", "ValueError: World size (4) is larger than the number of available GPUs (2) in this node."),
    ("lora-adapter", "ValueError: Call to add_lora method failed: LoRA rank 32 is greater than max_lora_rank 16."),
    ("lora-adapter", "ValueError: Loading lora sql failed: No adapter found for /models/adapters/org/sql"),
    ("lora-adapter", "ValueError: Call to add_lora method failed: LoRA is not enabled. Use --enable-lora to enable it"),
    ("service-links", "ValueError: VLLM_PORT 'tcp://10.96.0.7:8000' appears to be a URI. This may be caused by a"),
    ("weights-missing", "(Worker pid=1) RuntimeError: Cannot find any model weights with `/models/tiny`"),
    (
        "weights-missing",
        "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': "
        "'/models/nowhere'.",
    ),
    (
        "hub-auth",
        "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/api/models/x",
    ),
    ("hub-auth", "meta/x is gated and no valid token was sent; put a token of an account with access into the Secret"),
    ("hub-auth", "https://huggingface.co refused the token in HF_TOKEN as invalid (401); create a new one"),
    ("hub-forbidden", "huggingface_hub.errors.GatedRepoError: 403 Client Error. Cannot access gated repo for url …"),
    ("hub-forbidden", "meta/x is gated and this token's owner has no access to it; ask for access on …"),
    ("hub-not-found", "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error."),
    (
        "hub-timeout",
        "listing failed 6 times in a row, last because ConnectTimeout; check that the pod reaches the hub (DNS",
    ),
    ("hub-timeout", "OSError: We couldn't connect to 'https://huggingface.co' to load the files"),
    ("hub-rate-limit", "429 Client Error: Too Many Requests for url: https://huggingface.co/x"),
    (
        "read-only-volume",
        "/models/x can't be written (Read-only file system: /models/x/.prefetch); check that the volume",
    ),
    ("volume-permission", "/models/x can't be written (Permission denied: /models/x); check that the volume"),
    ("volume-full", "OSError: [Errno 28] No space left on device: '/models/x/model-1.safetensors'"),
]


@pytest.mark.parametrize(("code", "line"), LINES, ids=[f"{code}-{line[:20]}" for code, line in LINES])
def test_a_crash_is_named_by_its_line(code: str, line: str) -> None:
    log = f"INFO starting\n{line}\n    raise RuntimeError(\nRuntimeError: Engine core initialization failed."
    (found,) = diagnosed(pod(statuses=[crashing()]), logs={"vllm-abc-1": log}).findings
    assert (found.code, found.severity, found.object) == (code, "error", "Deployment llm/vllm")
    assert line.strip()[:40] in found.evidence[0].line and found.evidence[0].kind == "log"
    assert found.fix and "{" not in " ".join([found.cause, *found.fix]).replace("[{key", "")


def test_the_fix_carries_the_numbers_of_the_error() -> None:
    line = dict((code, line) for code, line in LINES if "28672" in line)["kv-cache-too-small"]
    (found,) = diagnosed(pod(statuses=[crashing()]), logs={"vllm-abc-1": line}).findings
    assert "max_model_len=28672" in found.fix[0] and "16.00 GiB" in found.cause and "3.50 GiB" in found.cause


def test_an_error_beats_the_retries_before_it() -> None:
    log = "the hub answered 503\nConnectTimeout: x\nmeta/x is gated and no valid token was sent; put a token"
    assert codes(pod(statuses=[crashing()]), logs={"vllm-abc-1": log}) == ["hub-auth"]


def test_a_complaint_that_the_run_survived_is_not_its_end() -> None:
    complaint = "OSError: [Errno 30] Read-only file system: '/models/.cache'"
    oom = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    crashed = pod(statuses=[crashing()])
    assert codes(crashed, logs={"vllm-abc-1": f"{complaint}\n{oom}"}) == ["cuda-oom"]
    assert codes(crashed, logs={"vllm-abc-1": "\n".join([complaint, *["INFO"] * 80, "boom"])}) == ["crash-loop"]


def test_an_unknown_crash_shows_its_last_lines() -> None:
    (found,) = diagnosed(pod(statuses=[crashing()]), logs={"vllm-abc-1": "a\nb\nSegmentation fault"}).findings
    assert found.code == "crash-loop" and found.evidence[-1].line == "Segmentation fault"
    assert "--previous" in found.fix[0]


def test_a_container_that_ends_well_again_and_again_is_a_crash_loop_too() -> None:
    assert codes(pod(statuses=[crashing(ended(0, "Completed"))])) == ["crash-loop"]


def test_tokens_do_not_leave_the_cluster() -> None:
    log = "failed with hf_" + "abcdefghijklmnopqrstuvwxyz123456"
    (found,) = diagnosed(pod(statuses=[crashing()]), logs={"vllm-abc-1": log}).findings
    assert "hf_abc" not in str(found.evidence) and "•••" in str(found.evidence)


def test_out_of_host_memory_is_not_the_gpus() -> None:
    (found,) = diagnosed(pod(statuses=[crashing(ended(137, "OOMKilled"))])).findings
    assert found.code == "host-oom" and found.severity == "error" and "16Gi" in found.cause
    back = status(ready=True, restarts=1, running={"startedAt": ago(100)}, last=ended(137, "OOMKilled", 200))
    assert diagnosed(pod(statuses=[back])).exit_code == 1  # it serves again: a warning
    old = status(ready=True, restarts=1, running={"startedAt": ago(9000)}, last=ended(137, "OOMKilled", 9001))
    assert codes(pod(statuses=[old])) == []


KILLED = "Container vllm failed {} probe, will be restarted"


def test_a_probe_that_kills_a_load() -> None:
    probe = {"startupProbe": {"periodSeconds": 5, "failureThreshold": 30}}
    loading = pod(container=probe, statuses=[status(restarts=1, running={"startedAt": ago(20)}, last=ended(137))])
    killed = event(loading, "Killing", KILLED.format("startup"), kind="Normal")
    (found,) = diagnosed(loading, killed, logs={"vllm-abc-1": "Loading safetensors checkpoint shards: 40%"}).findings
    assert found.code == "slow-load-killed" and "150 s" in found.cause
    bare = pod(statuses=[crashing(ended(143))])
    killed = event(bare, "Killing", KILLED.format("liveness"), kind="Normal")
    assert codes(bare, killed, logs={"vllm-abc-1": "Loading"}) == ["slow-load-killed"]


def test_a_probe_that_kills_a_server_that_had_started_is_another_matter() -> None:
    hung = pod(statuses=[crashing(ended(137))])
    killed = event(hung, "Killing", KILLED.format("liveness"), kind="Normal")
    log = "INFO:     Application startup complete.\nlong silence"
    assert codes(hung, killed, logs={"vllm-abc-1": log}) == ["liveness-killed"]


def test_a_failing_startup_probe_within_its_budget_is_a_normal_start() -> None:
    probe = {"startupProbe": {"periodSeconds": 5, "failureThreshold": 200}}
    loading = pod(age=900, container=probe, statuses=[status(running={"startedAt": ago(880)})])
    failing = event(loading, "Unhealthy", "Startup probe failed: connection refused", count=170)
    assert codes(loading, failing, logs={"vllm-abc-1": "Loading safetensors checkpoint shards: 40%"}) == []


def test_a_server_that_stays_unready_is_told_after_a_while() -> None:
    young = pod(age=60, statuses=[status(running={"startedAt": ago(50)})])
    old = pod(age=600, statuses=[status(running={"startedAt": ago(500)})])
    assert codes(young) == [] and codes(old) == ["not-ready"]


def test_one_restart_whose_second_try_is_under_way_is_no_finding() -> None:
    again = pod(statuses=[status(restarts=1, running={"startedAt": ago(5)}, last=ended())])
    assert codes(again, logs={"vllm-abc-1": "something odd"}) == []


def test_missing_secrets_and_commands() -> None:
    missing = {"reason": "CreateContainerConfigError", "message": 'secret "hf-token" not found'}
    assert codes(pod(statuses=[status(waiting=missing)])) == ["config-missing"]
    broken = ended(128, "StartError", message='exec: "vlm": executable file not found in $PATH')
    assert codes(pod(statuses=[crashing(broken)])) == ["cannot-start"]


def job_pod(name: str = "prefetch-1", **more: Any) -> dict[str, Any]:
    return pod(name, owner={"kind": "Job", "name": "prefetch", "controller": True}, **more)


def job(**conditions: Any) -> dict[str, Any]:
    found = [{"type": kind, "status": "True", "reason": "BackoffLimitExceeded"} for kind in conditions.pop("true", ())]
    return item("Job", "prefetch", status={"conditions": found, **conditions})


DENIED = "/models/x can't be written (Read-only file system: /models/x); check that the volume is mounted read-write"


def test_a_failed_prefetch_is_told_by_its_cause_and_not_twice() -> None:
    failed = job_pod(phase="Failed", statuses=[status(terminated=ended(17, message=DENIED))])
    (found,) = diagnosed(failed, job(true=["Failed"])).findings
    assert found.code == "read-only-volume" and found.consequences == ("job-failed: Job llm/prefetch",)
    assert codes(job(true=["Failed"])) == ["job-failed"]  # its pods are gone


def test_a_prefetch_that_succeeded_in_the_end_is_no_finding() -> None:
    failed = job_pod(phase="Failed", statuses=[status(terminated=ended(15, message="ConnectTimeout: x"))])
    assert codes(failed, job(true=["Complete"])) == []
    assert diagnosed(failed, job(active=1)).exit_code == 1  # another attempt is under way


def test_a_prefetch_that_retries_now_is_a_warning_and_one_that_goes_on_is_none() -> None:
    retry = '{"event": "retry", "what": "listing", "reason": "ConnectTimeout", "wait_seconds": 8}'
    running = job_pod(statuses=[status(running={"startedAt": ago(60)})])
    assert diagnosed(running, job(active=1), logs={"prefetch-1": retry}).exit_code == 1
    moves = "\n".join([retry, *['{"event": "progress", "bytes": 1}'] * 5])
    assert codes(running, job(active=1), logs={"prefetch-1": moves}) == []


def test_a_read_only_root_is_not_a_read_only_volume() -> None:
    mounts = {
        "volumeMounts": [{"name": "w", "mountPath": "/models"}],
        "securityContext": {"readOnlyRootFilesystem": True},
    }
    line = "OSError: [Errno 30] Read-only file system: '{}'"
    for path, code in (("/models/x", "read-only-volume"), ("/root/.cache", "crash-loop")):
        found = codes(pod(container=mounts, statuses=[crashing()]), logs={"vllm-abc-1": line.format(path)})
        assert found == [code]


def test_a_probe_that_kills_is_told_before_the_container_has_ended() -> None:
    loading = pod(statuses=[status(running={"startedAt": ago(2)})])
    killing = event(loading, "Killing", "Container vllm failed startup probe, will be restarted", kind="Normal")
    assert codes(loading, killing) == ["slow-load-killed"]


def test_who_may_not_write_to_a_read_only_mount_is_told_so() -> None:
    line = "/models/x can't be written (Permission denied: /models/x); check that the volume is mounted read-write"
    claim = {"name": "weights", "persistentVolumeClaim": {"claimName": "model-weights"}}
    mount = {"name": "weights", "mountPath": "/models"}
    for read_only, code in ((True, "read-only-volume"), (False, "volume-permission")):
        mounts = {"volumeMounts": [mount | {"readOnly": read_only}, {"name": "tmp", "mountPath": "/tmp"}]}
        writer = pod(statuses=[crashing()], container=mounts, spec={"volumes": [claim]})
        assert code in codes(writer, logs={"vllm-abc-1": line})


def test_a_job_that_runs_again_has_not_recovered_yet() -> None:
    said = "failed 2 times in a row, last because ReadTimeout: timed out; check that the pod reaches the hub"
    again = status(ready=True, restarts=1, running={"startedAt": ago(1)}, last=ended(15, message=said))
    job = {"kind": "Job", "name": "prefetch", "controller": True}
    assert codes(pod(statuses=[again], owner=job)) == ["hub-timeout"]
    assert codes(pod(statuses=[again])) == []
