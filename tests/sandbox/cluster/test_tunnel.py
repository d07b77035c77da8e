"""port-forward to a pod: by stock kubectl, and by the library's tunnel, which keeps the Authorization header."""

from __future__ import annotations

import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import Cluster
from vllm_runbook.cluster import ApiError, PodTunnel, ServiceProxy
from vllm_runbook.cluster import Cluster as Connection
from vllm_runbook.errors import RunbookError
from vllm_sandbox import binaries
from vllm_sandbox.paths import sandbox_dir

SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/teapot":
            self.send_error(418)
            return
        self.answer(b"x" * 3_000_000 if self.path == "/big" else str(self.headers.get("Authorization")).encode())
    def do_POST(self):
        self.answer(b"data: " + self.rfile.read(int(self.headers["Content-Length"])) + b"\\n\\ndata: [DONE]\\n\\n")
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer((os.environ["SANDBOX_POD_IP"], 8000), Handler).serve_forever()
"""


@pytest.fixture
def served(cluster: Cluster) -> Cluster:
    """A pod ``web`` that answers with the Authorization header it got, and a Service in front of it."""
    container = {
        "name": "web",
        "image": "ghcr.io/vllm-runbook/runbook:0.1.0",
        "command": ["python", "-c", SERVER],
        "ports": [{"containerPort": 8000}],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    }
    meta = {"name": "web", "labels": {"app": "web"}}
    cluster.apply(
        [
            {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "web"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 8000}]},
            },
        ]
    )
    cluster.wait("pod/web", "condition=Ready")
    return cluster


@pytest.fixture
def forwarded(served: Cluster) -> Iterator[str]:
    """URL of ``kubectl port-forward``."""
    program = str(binaries.ensure("kubectl")["kubectl"])
    command = [program, "--kubeconfig", str(served.kubeconfig), "-n", served.namespace, "port-forward", "web"]
    with subprocess.Popen([*command, ":8000", ":8001"], stdout=subprocess.PIPE, text=True) as process:
        killer = threading.Timer(60, process.kill)
        killer.start()
        assert process.stdout
        ports: list[str] = []
        while len(ports) < 2 and (line := process.stdout.readline()):  # a line each for IPv4 and IPv6
            ports += re.findall(r"127.0.0.1:(\d+) -> ", line)
        try:
            yield ",".join(f"http://127.0.0.1:{port}" for port in ports)
        finally:
            killer.cancel()
            process.terminate()


def get(url: str, **headers: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=headers)
    return bytes(opener.open(request, timeout=20).read())


def test_kubectl_port_forward(forwarded: str) -> None:
    url, closed = forwarded.split(",")
    assert get(url, Authorization="Bearer k") == b"Bearer k"
    with ThreadPoolExecutor(8) as pool:
        assert {len(body) for body in pool.map(get, [f"{url}/big"] * 8)} == {3_000_000}
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        get(closed)  # nothing listens there; kubectl gives the whole forward up, as on any cluster


def test_a_tunnel_carries_the_key_and_the_service_proxy_does_not(served: Cluster, connection: Connection) -> None:
    tunnel = PodTunnel(connection, served.namespace, "web", 8000, "s3cret-key")
    assert tunnel.text("/") == "Bearer s3cret-key" and "s3cret" not in repr(tunnel)
    assert len(tunnel.text("big")) == 3_000_000
    assert list(tunnel.stream("any", {"a": 1})) == [{"a": 1}, "[DONE]"]
    with pytest.raises(ApiError, match="418"):
        tunnel.text("teapot")
    proxy = f"/api/v1/namespaces/{served.namespace}/services/web:8000/proxy/"
    with pytest.raises(ApiError, match="401"):  # the API server takes the header for its own
        connection.raw("GET", proxy, headers={"Authorization": "Bearer s3cret-key"})
    assert ServiceProxy(connection, served.namespace, "web", 8000).text("/") == "None"
    assert "ERROR asyncio" not in (sandbox_dir(served.name) / "daemon.log").read_text()


def test_a_port_where_nothing_listens_and_a_pod_that_is_not_there(served: Cluster, connection: Connection) -> None:
    with pytest.raises(RunbookError, match="connection refused"):
        PodTunnel(connection, served.namespace, "web", 8001).text("/")
    with pytest.raises(ApiError, match="not found") as caught:
        PodTunnel(connection, served.namespace, "other", 8000).text("/")
    assert caught.value.code == 404
