"""A log of which there is no line yet: the server does not begin its answer, and a thread that waits for it ends."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from kubernetes import client

from vllm_runbook.cluster import Cluster, stream, watching


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "vllm-runbook-watch"}


def test_a_silent_log_leaves_no_thread_when_the_cell_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_BEGIN_SECONDS", 0.2)
    before = threads()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configuration = client.Configuration(host=f"http://127.0.0.1:{silent.getsockname()[1]}")
        configuration.proxy = None
        cluster = Cluster(client.ApiClient(configuration), "silent")
        with watching(cluster) as events:
            events.follow_log("llm", "pod")
            connection, _ = silent.accept()
            assert connection.recv(100).startswith(b"GET /api/v1/namespaces/llm/pods/pod/log?")
            (thread,) = threads() - before
            assert list(events.until(time.monotonic() + 0.5)) == []
        thread.join(timeout=30)
        connection.close()
    assert not thread.is_alive()
