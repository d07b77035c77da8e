"""The gateway as its specification has it: shares, matches, statuses, streams, answers when nobody can serve."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
import pytest

from .conftest import Gateway


def ref(name: str, weight: int = 1, port: int = 80) -> dict[str, Any]:
    return {"name": name, "port": port, "weight": weight}


def rule(*backends: dict[str, Any], path: str = "/v1", **more: Any) -> dict[str, Any]:
    """A rule for a path prefix; ``headers`` go into its match."""
    match = {"path": {"type": "PathPrefix", "value": path}}
    if headers := more.pop("headers", None):
        match["headers"] = [{"name": name, "value": value} for name, value in headers.items()]
    return {"matches": [match], "backendRefs": list(backends), **more}


def test_class_and_gateway_say_that_they_work(gateway: Gateway) -> None:
    kind = gateway.cluster.get("gatewayclass", "sandbox")["status"]
    assert [(each["type"], each["status"]) for each in kind["conditions"]] == [("Accepted", "True")]
    assert {"name": "HTTPRoute"} in kind["supportedFeatures"]
    gateway.route("main", rule(ref("stable")))
    item = gateway.cluster.get("gateway", "inference", "-n", "gateway-system")
    told = {each["type"]: each["status"] for each in item["status"]["conditions"]}
    assert told == {"Accepted": "True", "Programmed": "True"}
    service = gateway.cluster.get("service", "gateway", "-n", "gateway-system")
    assert item["status"]["addresses"] == [{"type": "IPAddress", "value": service["spec"]["clusterIP"]}]
    assert item["status"]["listeners"][0]["attachedRoutes"] == 1


@pytest.mark.parametrize(("stable", "canary"), [(75, 25), (95, 5), (0, 100), (100, 0)])
def test_shares_are_exact(gateway: Gateway, stable: int, canary: int) -> None:
    gateway.route("main", rule(ref("stable", stable), ref("canary", canary)))
    answers = Counter(gateway.client.get("/v1/models").text for _ in range(40))
    assert answers == Counter({name: n * 40 // 100 for name, n in (("stable", stable), ("canary", canary)) if n})
    assert gateway.conditions("main") == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}


def test_a_header_chooses_and_what_has_no_route_is_404(gateway: Gateway) -> None:
    gateway.route("main", rule(ref("canary"), headers={"x-canary": "always"}), rule(ref("stable")))
    assert gateway.client.get("/v1/models").text == "stable"
    assert gateway.client.get("/v1/models", headers={"X-Canary": "always"}).text == "canary"
    assert gateway.client.get("/metrics").status_code == gateway.client.get("/v10").status_code == 404


def test_bodies_and_headers_arrive(gateway: Gateway) -> None:
    gateway.route("main", rule(ref("stable")))
    done = gateway.client.post("/v1/chat", content="question", headers={"Authorization": "Bearer key"})
    assert done.text == "stable question Bearer key"
    chunked = gateway.client.post("/v1/chat", content=iter([b"que", b"stion"]))
    assert chunked.status_code == 200


def test_a_stream_is_passed_on_as_it_comes(gateway: Gateway) -> None:
    gateway.route("main", rule(ref("stable")))
    with gateway.client.stream("GET", "/v1/stream") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"first"  # the server waits until this was read
        gateway.client.post("/v1/go")
        assert b"".join(pieces) == b"second"


def test_a_broken_stream_is_seen_as_broken_and_counted(gateway: Gateway) -> None:
    gateway.route("main", rule(ref("canary")))
    where = {"route": "gateway-test/main", "backend": "gateway-test/canary"}
    before = gateway.metric("gateway_streams_broken_total", **where)
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.client.get("/v1/break")
    assert gateway.metric("gateway_streams_broken_total", **where, reason="backend") == before + 1
    assert gateway.metric("gateway_requests_in_flight", **where) == 0
    assert gateway.metric("gateway_request_duration_seconds_count", **where) > 0


def test_a_request_that_takes_too_long_is_504(gateway: Gateway) -> None:
    gateway.route("main", rule(ref("canary"), timeouts={"request": "200ms"}))
    assert gateway.client.get("/v1/wait").status_code == 504


def test_a_backend_that_is_not_there_costs_its_share_and_no_more(gateway: Gateway) -> None:
    gateway.route("main", rule(ref("stable", 3), ref("nothing", 1)))
    codes = Counter(gateway.client.get("/v1/models").status_code for _ in range(8))
    assert codes == {200: 6, 500: 2}
    assert gateway.conditions("main")["ResolvedRefs"] == ("False", "BackendNotFound")


def test_a_route_of_another_namespace_is_not_let_in(gateway: Gateway) -> None:
    gateway.cluster.kubectl("-n", "default", "apply", "-f", "-", stdin=STRANGER)
    told = 'jsonpath={.status.parents[0].conditions[?(@.type=="Accepted")].reason}'
    try:
        gateway.cluster.kubectl(
            "-n", "default", "wait", "httproute/stranger", f"--for={told}=NotAllowedByListeners", "--timeout=30s"
        )
        assert gateway.client.get("/stranger").status_code == 404
    finally:
        gateway.cluster.kubectl("-n", "default", "delete", "httproute", "stranger")


STRANGER = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stranger}
spec:
  parentRefs: [{name: inference, namespace: gateway-system}]
  rules: [{backendRefs: [{name: kubernetes, port: 443}]}]
"""


def test_without_a_ready_pod_the_answer_is_503(gateway: Gateway) -> None:
    """Last: the canary stays unready."""
    gateway.route("main", rule(ref("stable", 0), ref("canary", 100)))
    assert gateway.client.post("/v1/unready").status_code == 200
    endpoint = "jsonpath={.endpoints[0].conditions.ready}=false"
    gateway.cluster.kubectl(
        "wait", "endpointslice", "-l", "kubernetes.io/service-name=canary", f"--for={endpoint}", "--timeout=30s"
    )
    answer = gateway.client.get("/v1/models")
    assert answer.status_code == 503 and "no ready endpoint" in answer.text
    assert gateway.metric("gateway_requests_total", route="gateway-test/main", code="503") == 1
