"""What a name and a port lead to, from Services and EndpointSlices as the API server sends them."""

import random
from collections import Counter

import pytest

from vllm_sandbox.config import SandboxConfig
from vllm_sandbox.network.address import AddressMap, NoAnswer, NotRoutable
from vllm_sandbox.network.directory import ClusterDirectory, NameNotFound, NoReadyEndpoints, PortNotInService

API = ("127.0.0.1", 6443)
HUB = {("hub.sandbox.internal", 80): ("127.244.255.254", 4000)}


@pytest.fixture
def directory():
    return ClusterDirectory(AddressMap(SandboxConfig()), API, HUB, rng=random.Random(1))


def service(name="web", namespace="default", ip="10.96.0.9", ports=((80, "http"),), **spec):
    listed = [{"port": port, "name": label, "protocol": protocol} for port, label, protocol in map(_three, ports)]
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": ip, "ports": listed, **spec},
    }


def _three(port):
    return (*port, "TCP")[:3]


def slice_of(*endpoints, service="web", namespace="default", name="web-1", ports=((8000, "http"),)):
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"port": port, "name": label} for port, label in ports],
        "endpoints": list(endpoints),
    }


def endpoint(ip, ready=True, serving=None, **more):
    conditions = {"ready": ready} | ({} if serving is None else {"serving": serving})
    return {"addresses": [ip], "conditions": conditions, **more}


def test_every_form_of_a_services_name(directory):
    directory.service_event("ADDED", service())
    directory.slice_event("ADDED", slice_of(endpoint("10.244.1.5")))
    for name in (
        "web",
        "web.default",
        "web.default.svc",
        "web.default.svc.cluster.local",
        "WEB.default.svc.",
        "10.96.0.9",
    ):
        assert directory.resolve(name, 80) == ("127.244.1.5", 8000)


def test_a_service_may_be_called_svc(directory):
    directory.service_event("ADDED", service("svc"))
    directory.slice_event("ADDED", slice_of(endpoint("10.244.1.5"), service="svc"))
    for name in ("svc", "svc.default", "svc.default.svc", "svc.default.svc.cluster.local"):
        assert directory.resolve(name, 80) == ("127.244.1.5", 8000)


def test_connections_are_spread_over_ready_endpoints(directory):
    directory.service_event("ADDED", service())
    ready = [endpoint(f"10.244.1.{n}") for n in (5, 6)]
    directory.slice_event("ADDED", slice_of(*ready, endpoint("10.244.1.7", ready=False, serving=False)))
    directory.slice_event("ADDED", slice_of(endpoint("10.244.2.5"), name="web-2"))
    chosen = Counter(directory.resolve("web", 80)[0] for _ in range(3000))
    assert set(chosen) == {"127.244.1.5", "127.244.1.6", "127.244.2.5"}
    assert min(chosen.values()) > 900


def test_an_endpoint_without_conditions_is_ready(directory):
    directory.service_event("ADDED", service())
    directory.slice_event("ADDED", slice_of({"addresses": ["10.244.1.5"]}))
    assert directory.resolve("web", 80) == ("127.244.1.5", 8000)


def test_terminating_endpoints_serve_when_nothing_else_does(directory):
    directory.service_event("ADDED", service())
    going = endpoint("10.244.1.5", ready=False, serving=True)
    directory.slice_event("ADDED", slice_of(going, endpoint("10.244.1.6", ready=False, serving=False)))
    assert directory.resolve("web", 80) == ("127.244.1.5", 8000)
    directory.slice_event("MODIFIED", slice_of(going, endpoint("10.244.1.7")))
    assert {directory.resolve("web", 80)[0] for _ in range(50)} == {"127.244.1.7"}


def test_no_endpoint_is_said_to_be_ready_or_there(directory):
    directory.service_event("ADDED", service())
    with pytest.raises(NoReadyEndpoints, match="Service default/web port 80 has no endpoints"):
        directory.resolve("web", 80)
    directory.slice_event("ADDED", slice_of(endpoint("10.244.1.5", ready=False, serving=False)))
    with pytest.raises(NoReadyEndpoints, match="has 1 endpoints, none of them ready"):
        directory.resolve("web", 80)
    directory.slice_event("DELETED", slice_of())
    with pytest.raises(NoReadyEndpoints, match="no endpoints"):
        directory.resolve("web", 80)


def test_a_ports_name_leads_to_the_pods_port(directory):
    directory.service_event("ADDED", service(ports=((80, "http"), (9090, "metrics"))))
    directory.slice_event("ADDED", slice_of(endpoint("10.244.1.5"), ports=((8000, "http"), (8001, "metrics"))))
    assert directory.resolve("web", 9090) == ("127.244.1.5", 8001)
    with pytest.raises(PortNotInService, match="Service default/web has no port 8000, only 80, 9090"):
        directory.resolve("web", 8000)


def test_tcp_is_what_a_connection_is_about(directory):
    directory.service_event("ADDED", service("dns", ports=((53, "dns", "UDP"), (53, "dns-tcp", "TCP"))))
    directory.slice_event(
        "ADDED", slice_of(endpoint("10.244.1.5"), service="dns", ports=((1053, "dns"), (1054, "dns-tcp")))
    )
    assert directory.resolve("dns", 53) == ("127.244.1.5", 1054)
    assert list(directory.service_ports()) == [("10.96.0.9", 53)]


def test_a_headless_service_is_its_pods(directory):
    directory.service_event("ADDED", service("db", ip="None"))
    directory.slice_event(
        "ADDED",
        slice_of(endpoint("10.244.1.5", hostname="db-0"), endpoint("10.244.1.6", hostname="db-1"), service="db"),
    )
    assert {directory.resolve("db", 5432)[0] for _ in range(50)} == {"127.244.1.5", "127.244.1.6"}
    assert {directory.resolve("db-1.db.default.svc.cluster.local", 5432) for _ in range(20)} == {("127.244.1.6", 5432)}
    with pytest.raises(NoReadyEndpoints):
        directory.resolve("db-7.db.default.svc", 5432)


def test_pods_by_address_and_by_name(directory):
    assert directory.resolve("10.244.3.4", 8000) == ("127.244.3.4", 8000)
    assert directory.resolve("10-244-3-4.llm.pod.cluster.local", 8000) == ("127.244.3.4", 8000)
    assert directory.resolve("localhost", 8000) == ("127.0.0.1", 8000)
    with pytest.raises(NotRoutable, match="outside the sandbox"):
        directory.resolve("8-8-8-8.llm.pod", 53)


def test_addresses_for_documentation_never_answer(directory):
    with pytest.raises(NoAnswer, match="192.0.2.10 gave no answer"):
        directory.resolve("192.0.2.10", 80)


def test_the_api_server_and_outside_names(directory):
    directory.service_event("ADDED", service("kubernetes", ip="10.96.0.1", ports=((443, "https"),)))
    assert directory.resolve("kubernetes.default.svc", 443) == API
    assert directory.resolve("10.96.0.1", 443) == API
    assert directory.resolve("hub.sandbox.internal", 80) == ("127.244.255.254", 4000)


def test_an_unknown_name_says_what_there_is(directory):
    directory.service_event("ADDED", service("web", "llm"))
    directory.service_event("ADDED", service("api", "llm", ip="10.96.0.10"))
    with pytest.raises(NameNotFound, match=r"wbe\.llm:80 is no Service of this cluster; namespace llm has api, web;"):
        directory.resolve("wbe.llm", 80)
    with pytest.raises(NameNotFound, match=r"outside names known to the sandbox: hub\.sandbox\.internal:80"):
        directory.resolve("huggingface.co", 443)
    with pytest.raises(NameNotFound, match=r"no Service has the cluster IP 10\.96\.7\.7"):
        directory.resolve("10.96.7.7", 80)


@pytest.mark.parametrize(
    "name", ["svc", ".svc", "", ".", "a..b", "svc.cluster.local", "a.b.c.d.e.svc", "10.0.0.256", "é"]
)
def test_strange_names_are_unknown_ones(directory, name):
    with pytest.raises(NameNotFound):
        directory.resolve(name, 80)


def test_external_names_lead_on_but_not_in_circles(directory):
    directory.service_event(
        "ADDED", service("models", type="ExternalName", externalName="hub.sandbox.internal", ip=None)
    )
    assert directory.resolve("models", 80) == ("127.244.255.254", 4000)
    directory.service_event("ADDED", service("out", type="ExternalName", externalName="huggingface.co", ip=None))
    with pytest.raises(NameNotFound, match=r"huggingface\.co:443 is no Service"):
        directory.resolve("out", 443)
    for name, other in (("a", "b"), ("b", "a")):
        directory.service_event(
            "ADDED", service(name, type="ExternalName", externalName=f"{other}.default.svc", ip=None)
        )
    with pytest.raises(NameNotFound, match="external names"):
        directory.resolve("a", 80)


def test_what_is_gone_is_not_found_any_more(directory):
    directory.service_event("ADDED", service())
    directory.slice_event("ADDED", slice_of(endpoint("10.244.1.5")))
    directory.service_event("DELETED", service())
    for name in ("web", "10.96.0.9"):
        with pytest.raises(NameNotFound):
            directory.resolve(name, 80)
    assert list(directory.service_ports()) == []


def test_a_service_that_loses_its_address(directory):
    directory.service_event("ADDED", service())
    directory.service_event("MODIFIED", service(type="ExternalName", externalName="hub.sandbox.internal", ip=None))
    with pytest.raises(NameNotFound, match="cluster IP"):
        directory.resolve("10.96.0.9", 80)
