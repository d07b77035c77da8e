"""Pods as stock kubectl sees them."""

import json
import subprocess
import threading
from datetime import datetime

from vllm_sandbox import binaries


def pod(name, *containers, **spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": list(containers), **spec},
    }


def shell(script, name="main", **more):
    return {"name": name, "image": "busybox:1.36", "command": ["sh", "-c", script], **more}


FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


def status(cluster, name, container=0):
    return cluster.get("pod", name)["status"]["containerStatuses"][container]


def test_a_pod_runs_and_its_logs_are_read(cluster):
    cluster.apply(pod("p", shell(f"echo out; echo err >&2; {FOREVER}"), shell(f"echo second; {FOREVER}", "side")))
    cluster.wait("pod/p", "condition=Ready")
    assert cluster.kubectl("logs", "p", "-c", "main") == "out\nerr\n"
    assert "second" in cluster.kubectl("logs", "p", "--all-containers", "--prefix")
    assert cluster.kubectl("logs", "p", "-c", "main", "--tail=1", "--timestamps").endswith("Z err\n")
    assert "10.2" in cluster.kubectl("get", "pod", "p", "-o", "wide")
    described = cluster.kubectl("describe", "pod", "p")
    assert "Started" in described
    assert "QoS Class" in described


def test_following_a_log_ends_with_the_container(cluster):
    cluster.apply(pod("p", shell("for i in 1 2 3; do echo line $i; sleep 0.3; done"), restartPolicy="Never"))
    cluster.wait("pod/p", "condition=ContainersReady=false")
    assert cluster.kubectl("logs", "-f", "p", "--pod-running-timeout=30s") == "line 1\nline 2\nline 3\n"
    cluster.wait("pod/p", "jsonpath={.status.phase}=Succeeded")
    assert status(cluster, "p")["state"]["terminated"]["reason"] == "Completed"


def test_init_containers_run_in_order_before_the_rest(cluster):
    volumes = [{"name": "d", "emptyDir": {}}]
    mount = {"volumeMounts": [{"name": "d", "mountPath": "/data"}]}
    inits = [shell("echo one >> /data/x", "a", **mount), shell("echo two >> /data/x", "b", **mount)]
    cluster.apply(pod("p", shell("cat /data/x", **mount), initContainers=inits, volumes=volumes, restartPolicy="Never"))
    cluster.wait("pod/p", "jsonpath={.status.phase}=Succeeded")
    assert cluster.kubectl("logs", "p") == "one\ntwo\n"
    assert [
        s["state"]["terminated"]["exitCode"] for s in cluster.get("pod", "p")["status"]["initContainerStatuses"]
    ] == [0, 0]


def test_a_failing_init_container_holds_the_pod_back(cluster):
    cluster.apply(pod("p", shell(FOREVER), initContainers=[shell("echo nothing here; exit 1", "check")]))
    cluster.wait("pod/p", "jsonpath={.status.initContainerStatuses[0].state.waiting.reason}=CrashLoopBackOff")
    assert "Init:CrashLoopBackOff" in cluster.kubectl("get", "pod", "p")
    assert cluster.get("pod", "p")["status"]["phase"] == "Pending"
    assert "nothing here" in cluster.kubectl("logs", "p", "-c", "check", "--previous")


def test_a_sidecar_starts_first_and_ends_last(cluster):
    side = {**shell(f"echo side; {FOREVER}", "side"), "restartPolicy": "Always"}
    cluster.apply(pod("p", shell("exit 0"), initContainers=[side], restartPolicy="Never"))
    cluster.wait("pod/p", "jsonpath={.status.phase}=Succeeded")


def test_a_crash_loop_backs_off_and_keeps_the_last_run(cluster):
    cluster.apply(pod("p", shell("echo boom; exit 3")))
    cluster.wait("pod/p", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff")
    found = status(cluster, "p")
    assert found["lastState"]["terminated"]["exitCode"] == 3
    assert found["restartCount"] >= 1
    assert "back-off 10s restarting failed container=main" in found["state"]["waiting"]["message"]
    assert cluster.kubectl("logs", "p", "--previous") == "boom\n"
    assert "Back-off restarting failed container" in cluster.kubectl("events", "--for=pod/p")


def test_an_image_that_does_not_exist(cluster):
    cluster.apply(pod("p", {"name": "c", "image": "vllm/vllm-openai:v99.1"}))
    cluster.wait("pod/p", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff")
    assert "not found" in status(cluster, "p")["state"]["waiting"]["message"]
    said = cluster.kubectl("logs", "p", ok=False)
    assert "waiting to start" in said


def test_an_executable_that_does_not_exist(cluster):
    cluster.apply(pod("p", {"name": "c", "image": "busybox", "command": ["no-such-program"]}, restartPolicy="Never"))
    cluster.wait("pod/p", "jsonpath={.status.phase}=Failed")
    ended = status(cluster, "p")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "executable file not found" in ended["message"]


def test_a_missing_secret_is_named_and_mended_when_it_comes(cluster):
    env = [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "token", "key": "t"}}}]
    cluster.apply(pod("p", shell('echo "got $T"', env=env), restartPolicy="Never"))
    cluster.wait("pod/p", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError")
    assert "token" in status(cluster, "p")["state"]["waiting"]["message"]
    cluster.kubectl("create", "secret", "generic", "token", "--from-literal=t=hello")
    cluster.wait("pod/p", "jsonpath={.status.phase}=Succeeded")
    assert cluster.kubectl("logs", "p") == "got hello\n"


def test_files_of_config_maps_secrets_and_the_downward_api(cluster):
    cluster.kubectl("create", "configmap", "cm", "--from-literal=a=1", "--from-literal=b=2")
    cluster.kubectl("create", "secret", "generic", "s", "--from-literal=k=v")
    volumes = [
        {"name": "cm", "configMap": {"name": "cm", "items": [{"key": "b", "path": "sub/b"}]}},
        {"name": "all", "projected": {"sources": [
            {"secret": {"name": "s"}},
            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ]}},
    ]  # fmt: skip
    mounts = [{"name": "cm", "mountPath": "/cm"}, {"name": "all", "mountPath": "/all"}]
    script = "cat /cm/sub/b /all/k /all/name; ls /cm; echo x > /cm/y || echo read-only"
    cluster.apply(pod("p", shell(script, volumeMounts=mounts), volumes=volumes, restartPolicy="Never"))
    cluster.wait("pod/p", "jsonpath={.status.phase}=Succeeded")
    said = cluster.kubectl("logs", "p")
    assert said.startswith("2vpsub\n")
    assert said.endswith("read-only\n")


def test_a_pod_has_its_own_service_account_and_its_rights(cluster):
    cluster.kubectl("create", "serviceaccount", "reader")
    cluster.kubectl("create", "role", "r", "--verb=list", "--resource=pods")
    cluster.kubectl("create", "rolebinding", "r", "--role=r", f"--serviceaccount={cluster.namespace}:reader")
    code = (
        "from kubernetes import client, config; config.load_kube_config(); v1 = client.CoreV1Api()\n"
        f"print(len(v1.list_namespaced_pod('{cluster.namespace}').items))\n"
        "try: v1.list_node()\nexcept client.ApiException as e: print(e.status)\n"
    )
    runbook = {"name": "c", "image": "ghcr.io/vllm-runbook/runbook:0.1.0", "command": ["python", "-c", code]}
    cluster.apply(pod("p", runbook, serviceAccountName="reader", restartPolicy="Never"))
    cluster.wait("pod/p", "jsonpath={.status.phase}=Succeeded")
    assert cluster.kubectl("logs", "p") == "1\n403\n"


class TestProbes:
    READY = {"exec": {"command": ["cat", "/data/ready"]}, "periodSeconds": 1}
    MOUNT = {"volumeMounts": [{"name": "d", "mountPath": "/data"}]}
    VOLUMES = {"volumes": [{"name": "d", "emptyDir": {}}]}

    def test_readiness_comes_and_goes(self, cluster):
        script = f"sleep 1; touch /data/ready; sleep 3; rm /data/ready; {FOREVER}"
        probe = {**self.READY, "failureThreshold": 1}
        cluster.apply(pod("p", shell(script, readinessProbe=probe, **self.MOUNT), **self.VOLUMES))
        cluster.wait("pod/p", "condition=Ready")
        cluster.wait("pod/p", "condition=Ready=false")
        assert status(cluster, "p")["restartCount"] == 0
        assert "Readiness probe failed" in cluster.kubectl("events", "--for=pod/p")

    def test_liveness_restarts(self, cluster):
        probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2}
        cluster.apply(pod("p", shell(FOREVER, livenessProbe=probe), terminationGracePeriodSeconds=1))
        cluster.wait("pod/p", "jsonpath={.status.containerStatuses[0].restartCount}=1")
        assert "failed liveness probe, will be restarted" in cluster.kubectl("events", "--for=pod/p")

    def test_a_startup_probe_that_is_too_short_kills_a_slow_start(self, cluster):
        startup = {**self.READY, "failureThreshold": 2}
        script = f"sleep 30; touch /data/ready; {FOREVER}"
        cluster.apply(
            pod("p", shell(script, startupProbe=startup, **self.MOUNT), terminationGracePeriodSeconds=1, **self.VOLUMES)
        )
        cluster.wait("pod/p", "jsonpath={.status.containerStatuses[0].restartCount}=1")
        assert "failed startup probe" in cluster.kubectl("events", "--for=pod/p")
        assert status(cluster, "p")["ready"] is False

    def test_the_initial_delay_counts_from_the_container_s_start(self, cluster):
        """As the kubelet's: a delay that the startup probe used up isn't waited for once more."""
        startup = {**self.READY, "failureThreshold": 60}
        ready = {"exec": {"command": ["true"]}, "periodSeconds": 1, "initialDelaySeconds": 8}
        container = shell(f"sleep 8; touch /data/ready; {FOREVER}", startupProbe=startup, readinessProbe=ready)
        cluster.apply(pod("p", {**container, **self.MOUNT}, **self.VOLUMES))
        cluster.wait("pod/p", "condition=Ready")
        found = cluster.get("pod", "p")["status"]
        (since,) = [each["lastTransitionTime"] for each in found["conditions"] if each["type"] == "Ready"]
        began = found["containerStatuses"][0]["state"]["running"]["startedAt"]
        waited = (datetime.fromisoformat(since) - datetime.fromisoformat(began)).total_seconds()
        assert 8 <= waited < 16  # counted from the end of the start-up it would be 16 and more

    def test_http_and_tcp(self, cluster):
        server = "import http.server, os; s = http.server.HTTPServer((os.environ['SANDBOX_POD_IP'], 8080), http.server.SimpleHTTPRequestHandler); s.serve_forever()"  # noqa: E501
        container = {
            "name": "c",
            "image": "ghcr.io/vllm-runbook/runbook:0.1.0",
            "command": ["python", "-c", server],
            "ports": [{"name": "web", "containerPort": 8080}],
            "startupProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 1, "failureThreshold": 30},
            "readinessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1},
            "livenessProbe": {"httpGet": {"path": "/nothing", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1},
        }
        cluster.apply(pod("p", container, terminationGracePeriodSeconds=1))
        cluster.wait("pod/p", "jsonpath={.status.containerStatuses[0].restartCount}=1")
        assert "HTTP probe failed with statuscode: 404" in cluster.kubectl("events", "--for=pod/p")


class TestDeletion:
    def test_pre_stop_then_sigterm_then_gone(self, cluster):
        hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /data/x"]}}}
        mount = {"volumeMounts": [{"name": "d", "mountPath": "/data"}]}
        script = "trap 'cat /data/x; echo term; exit 0' TERM; while :; do sleep 0.1; done"
        cluster.apply(pod("p", shell(script, lifecycle=hook, **mount), volumes=[{"name": "d", "emptyDir": {}}]))
        cluster.wait("pod/p", "condition=Ready")
        seen = []
        follower = threading.Thread(target=lambda: seen.append(cluster.kubectl("logs", "-f", "p", ok=False)))
        follower.start()
        cluster.kubectl("delete", "pod", "p", "--timeout=30s")
        follower.join(30)
        assert seen == ["hook\nterm\n"]
        assert "NotFound" in cluster.kubectl("get", "pod", "p", ok=False)

    def test_who_ignores_sigterm_is_killed_after_the_grace_period(self, cluster):
        cluster.apply(pod("p", shell("trap '' TERM; while :; do sleep 0.1; done"), terminationGracePeriodSeconds=2))
        cluster.wait("pod/p", "condition=Ready")
        cluster.kubectl("delete", "pod", "p", "--wait=false")
        cluster.kubectl("wait", "pod/p", "--for=delete", "--timeout=20s")

    def test_a_forced_deletion_leaves_no_process(self, cluster):
        marker = f"marker-{cluster.namespace}"
        cluster.apply(pod("p", shell(f"trap '' TERM; while :; do : {marker}; sleep 0.1; done")))
        cluster.wait("pod/p", "condition=Ready")
        assert subprocess.run(["pgrep", "-f", marker], capture_output=True).stdout
        cluster.kubectl("delete", "pod", "p", "--grace-period=0", "--force")
        cluster.apply(pod("after", shell("exit 0"), restartPolicy="Never"))
        cluster.wait("pod/after", "jsonpath={.status.phase}=Succeeded")
        done = subprocess.run(
            ["timeout", "20", "sh", "-c", f"while pgrep -f {marker[:-1]}[{marker[-1]}] >/dev/null; do :; done"]
        )
        assert done.returncode == 0


def test_an_active_deadline_ends_the_pod(cluster):
    cluster.apply(pod("p", shell(FOREVER), activeDeadlineSeconds=2, restartPolicy="Never"))
    cluster.wait("pod/p", "jsonpath={.status.phase}=Failed")
    assert cluster.get("pod", "p")["status"]["reason"] == "DeadlineExceeded"


def test_over_its_memory_limit_a_container_is_oom_killed(cluster):
    report = (
        "import json, os, socket, time; s = socket.socket(socket.AF_UNIX)\n"
        "s.connect(os.environ['SANDBOX_AGENT_SOCKET'])\n"
        "t = os.environ['SANDBOX_CONTAINER_TOKEN']\n"
        "for n in (1, 2, 3): s.sendall(json.dumps({'token': t, 'memory_bytes': n * 2**30}).encode() + b'\\n')\n"
        "time.sleep(60)\n"
    )
    resources = {"limits": {"memory": "2Gi"}, "requests": {"memory": "2Gi"}}
    image = "ghcr.io/vllm-runbook/runbook:0.1.0"
    cluster.apply(pod("p", {"name": "c", "image": image, "command": ["python", "-c", report], "resources": resources}))
    cluster.wait("pod/p", "jsonpath={.status.containerStatuses[0].lastState.terminated.reason}=OOMKilled")
    assert status(cluster, "p")["lastState"]["terminated"]["exitCode"] == 137


def test_what_the_sandbox_cannot_do_is_said(cluster):
    cluster.apply(pod("p", shell(FOREVER)))
    cluster.wait("pod/p", "condition=Ready")
    assert cluster.kubectl("exec", "p", "--", "ls", ok=False, timeout=30)
    assert json.loads(cluster.kubectl("get", "pod", "p", "-o", "json"))["status"]["phase"] == "Running"


def test_pods_deleted_while_they_start_go_away(cluster):
    """Deletion may come at any moment of a start, also between the decision to start and the process."""
    kubectl = f"{binaries.ensure('kubectl')['kubectl']} --kubeconfig {cluster.kubeconfig} -n {cluster.namespace}"
    for moment in range(12):
        manifest = pod(f"p{moment}", shell("sleep 3600"), terminationGracePeriodSeconds=1)
        command = f"{kubectl} create -f - && sleep 0.0{moment % 8} && {kubectl} delete pod p{moment} --wait=false"
        subprocess.run(["sh", "-c", command], input=json.dumps(manifest), text=True, check=True)
    cluster.kubectl("wait", "pod", "--all", "--for=delete", "--timeout=30s", ok=False)  # complains if none is left
    assert cluster.get("pods")["items"] == []


def test_a_job_whose_pods_are_deleted_before_they_start_makes_others(cluster):
    """The Job waits for its pod's end: one that never began must have one, too."""
    template = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "1"]}]}
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [17]}}
    spec = {"podFailurePolicy": {"rules": [rule]}, "template": {"spec": template}}
    names = [f"job-{number}" for number in range(6)]
    for name in names:
        cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
        selector = f"batch.kubernetes.io/job-name={name}"
        cluster.kubectl("wait", "--for=create", "pod", "-l", selector, "--timeout=30s")
        cluster.kubectl("delete", "pod", "-l", selector, "--wait=false")
    for name in names:
        cluster.wait(f"job/{name}", "condition=Complete")


def test_a_secret_that_came_meanwhile_is_there_when_the_container_starts_again(cluster):
    mount = {"volumeMounts": [{"name": "s", "mountPath": "/secret"}]}
    volume = {"name": "s", "secret": {"secretName": "late", "optional": True}}
    cluster.apply(pod("p", shell(f"test -f /secret/key || exit 1; {FOREVER}", **mount), volumes=[volume]))
    cluster.wait("pod/p", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    cluster.kubectl("create", "secret", "generic", "late", "--from-literal=key=1")
    cluster.wait("pod/p", "condition=Ready", 45)
