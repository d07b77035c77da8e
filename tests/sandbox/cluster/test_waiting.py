"""Lists, watches, waits and their explanations."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
import yaml

from conftest import Cluster
from vllm_runbook import params
from vllm_runbook.cluster import (
    ApiError,
    Hopeless,
    Ref,
    Rule,
    Seen,
    Selection,
    ServiceProxy,
    State,
    TimedOut,
    client,
    connect,
    explain,
    is_true,
    refused,
    rules,
    wait,
    watching,
)
from vllm_runbook.cluster import Cluster as Connection
from vllm_runbook.cluster.stream import Events
from vllm_runbook.errors import RunbookError

from .conftest import config_map, deployment, job


def test_lists_are_paged_selected_and_small(
    cluster: Cluster, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [config_map(cluster.namespace, f"c{i}", text="x" * 100) for i in range(7)]
    items[0]["metadata"]["labels"] = {"pick": "me"}
    cluster.apply(items)
    monkeypatch.setattr(client, "PAGE", 3)
    names = [item["metadata"]["name"] for item in connection.list("ConfigMap", cluster.namespace)]
    assert names == ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "kube-root-ca.crt"]
    (picked,) = connection.list("ConfigMap", cluster.namespace, labels="pick=me", metadata_only=True)
    assert picked["metadata"]["name"] == "c0" and "data" not in picked
    assert len(list(connection.list("ConfigMap", cluster.namespace, cached=True))) == 8


def test_a_kind_that_is_not_installed_is_named(connection: Connection) -> None:
    assert not connection.serves("PodMonitor")
    with pytest.raises(RunbookError, match="PodMonitor") as raised:
        list(connection.list("PodMonitor", "default"))
    assert "CustomResourceDefinition" in str(raised.value)


def test_a_wait_sees_changes_past_the_end_of_a_watch(
    cluster: Cluster, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server ends watches; the wait goes on where it stopped, missing nothing and repeating nothing."""
    monkeypatch.setattr("vllm_runbook.cluster.stream._WATCH_SECONDS", 1)
    seen: list[str] = []
    selection = Selection("ConfigMap", cluster.namespace, labels="mine=yes")
    with watching(connection, selection) as events:
        deadline = time.monotonic() + 30
        stream = events.until(deadline)
        assert next(stream).type == "SYNCED"
        began = time.monotonic()
        count = 0
        while time.monotonic() - began < 3:
            item = config_map(cluster.namespace, f"c{count}")
            item["metadata"]["labels"] = {"mine": "yes"}
            cluster.apply(item)
            event = next(stream)
            seen.append(f"{event.type} {event.object['metadata']['name']}")
            count += 1
    assert count > 3 and seen == [f"ADDED c{i}" for i in range(count)]


def test_a_wait_follows_logs_to_their_end(cluster: Cluster, connection: Connection) -> None:
    cluster.apply(job(cluster.namespace, "for i in 1 2 3; do echo line $i; done"))
    followed: set[str] = set()
    lines: list[str] = []

    def follow(event: Seen, events: Events) -> None:
        if event.type == "LINE":
            lines.append(event.line)
        item = event.object
        statuses = item.get("status", {}).get("containerStatuses", [])
        name = item.get("metadata", {}).get("name")
        if statuses and "waiting" not in statuses[0]["state"] and name not in followed:
            followed.add(name)
            events.follow_log(cluster.namespace, name)

    wait(
        connection,
        "three lines",
        [Selection("Pod", cluster.namespace)],
        lambda _: len(lines) == 3,
        seconds=30,
        on_event=follow,
    )
    assert lines == ["line 1", "line 2", "line 3"]


def test_timed_out_says_what_was_in_the_way(cluster: Cluster, connection: Connection) -> None:
    cluster.apply(deployment(cluster.namespace, container={"resources": {"limits": {"cpu": "1000"}}}))
    owner = Ref("Deployment", "web", cluster.namespace)
    with pytest.raises(TimedOut) as raised:
        wait(
            connection,
            f"{owner} is available",
            [Selection.of(owner), Selection("Pod", cluster.namespace)],
            lambda state: is_true(state.only("Deployment"), "Available"),
            seconds=3,
            explain=lambda state: explain.why(connection, state.all("Pod"), owner),
        )
    assert "is available: not within 3 s" in str(raised.value)
    assert "Insufficient cpu" in str(raised.value)


def test_a_crash_is_explained_with_its_last_lines(cluster: Cluster, connection: Connection) -> None:
    cluster.apply(deployment(cluster.namespace, container={"command": ["sh", "-c", "echo bad flag >&2; exit 2"]}))

    def crashed(state: State) -> bool:
        for pod in state.all("Pod"):
            if explain.trouble(pod):
                raise Hopeless("web can't start", why=explain.why(connection, [pod]))
        return False

    with pytest.raises(Hopeless) as raised:
        wait(connection, "web runs", [Selection("Pod", cluster.namespace)], crashed, seconds=30)
    told = str(raised.value)
    assert "container main ended with exit code 2 (Error)" in told
    assert "last lines of container main" in told and "bad flag" in told


def test_an_unknown_image_is_explained(cluster: Cluster, connection: Connection) -> None:
    cluster.apply(deployment(cluster.namespace, "nobody/nothing:1"))

    def stuck(state: State) -> bool:
        return any("ImagePull" in explain.trouble(pod) for pod in state.all("Pod"))

    state = wait(connection, "the pull fails", [Selection("Pod", cluster.namespace)], stuck, seconds=30)
    assert "nobody/nothing:1" in explain.why(connection, state.all("Pod"))


def test_leaving_a_watch_ends_its_threads(cluster: Cluster, connection: Connection) -> None:
    before = threading.active_count()
    with watching(connection, *(Selection("Pod", cluster.namespace, labels=f"a={i}") for i in range(5))) as events:
        synced = 0
        for event in events.until(time.monotonic() + 20):
            synced += event.type == "SYNCED"
            if synced == 5:
                break
        watchers = [thread for thread in threading.enumerate() if thread.name == "vllm-runbook-watch"]
    for thread in watchers:
        thread.join(10)
    assert threading.active_count() <= before


def test_a_refused_watch_is_an_error_not_a_wait(cluster: Cluster, connection: Connection) -> None:
    bad = Selection("Pod", cluster.namespace, labels="a in (")
    with pytest.raises(ApiError, match="unable to parse"):
        wait(connection, "nothing", [bad], lambda _: False, seconds=20)


def test_permissions_are_asked_of_the_server(cluster: Cluster, tmp_path: Path) -> None:
    """As a service account that may only read pods in its namespace."""
    cluster.kubectl("create", "serviceaccount", "reader")
    cluster.kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log")
    subject = f"--serviceaccount={cluster.namespace}:reader"
    cluster.kubectl("create", "rolebinding", "reader", "--role=reader", subject)
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": cluster.kubectl("create", "token", "reader").strip()}
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(document))
    platform = params.load("sandbox", "tiny", {"kubernetes.kubeconfig": str(file)}).platform
    wanted = [
        *rules("get list", "pods pods/log", namespace=cluster.namespace),
        *rules("create", "deployments", group="apps", namespace=cluster.namespace),
        *rules("list", "nodes"),
    ]
    assert list(refused(connect(platform), wanted)) == [
        Rule("create", "deployments", "apps", cluster.namespace),
        Rule("list", "nodes"),
    ]


def test_a_service_is_reached_through_the_api_server(cluster: Cluster, connection: Connection) -> None:
    serve = (
        "import http.server,os\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "  def do_GET(s):\n"
        "    s.send_response(200); s.end_headers(); s.wfile.write(b'{\"path\": \"'+s.path.encode()+b'\"}')\n"
        "  def do_POST(s):\n"
        "    while n := int(s.rfile.readline(), 16): s.rfile.read(n + 2)\n"
        "    s.rfile.readline()\n"
        "    s.send_response(200); s.end_headers()\n"
        '    s.wfile.write(b\'data: {"n": 1}\\n\\ndata: {"n": 2}\\n\\ndata: [DONE]\\n\\n\')\n'
        "http.server.HTTPServer((os.environ['SANDBOX_POD_IP'],8000),H).serve_forever()\n"
    )
    image = "ghcr.io/vllm-runbook/runbook:0.1.0"
    container = {
        "command": ["python", "-c", serve],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": cluster.namespace},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    cluster.apply([deployment(cluster.namespace, image, container=container), service])
    cluster.wait("deployment/web", "condition=Available")
    slices = Selection("EndpointSlice", cluster.namespace)

    def ready(state: State) -> bool:
        return any(
            each["conditions"].get("ready") for item in state.all("EndpointSlice") for each in item["endpoints"] or ()
        )

    wait(connection, "an endpoint is ready", [slices], ready, seconds=20)
    proxy = ServiceProxy(connection, cluster.namespace, "web", 80)
    assert proxy.json("hello", q="1") == {"path": "/hello?q=1"}
    assert list(proxy.stream("chat", {"a": 1})) == [{"n": 1}, {"n": 2}, "[DONE]"]
    with pytest.raises(ApiError) as raised:
        ServiceProxy(connection, cluster.namespace, "nope", 80).text("")
    assert "Service" in str(raised.value)
    assert json.loads(proxy.text("x")) == {"path": "/x"} and os.environ.get("XDG_STATE_HOME")
