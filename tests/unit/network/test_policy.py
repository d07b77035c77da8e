"""NetworkPolicies as the API documents them: which connections they let through."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_sandbox.network.policy import DNS, Party, Policies, matches

SERVER = Party("10.244.1.2", "llm", "server", {"app": "server"}, {"http": 8000})
FRIEND = Party("10.244.2.2", "llm", "friend", {"app": "load"})
GATEWAY = Party("10.244.3.2", "gateway", "envoy", {"app": "envoy"})
STRANGER = Party("10.244.4.2", "other", "stranger", {"app": "load"})
OUTSIDE = Party("198.18.0.1")


def policies(*specs: dict[str, Any]) -> Policies:
    found = Policies()
    for name in ("llm", "gateway", "other"):
        labels = {"kubernetes.io/metadata.name": name, "team": "web" if name == "gateway" else "x"}
        found.namespace_event("ADDED", {"metadata": {"name": name, "labels": labels}})
    for number, spec in enumerate(specs):
        found.policy_event("ADDED", policy(f"p{number}", spec))
    return found


def policy(name: str, spec: dict[str, Any], namespace: str = "llm") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"podSelector": {}, **spec}}


def reached(found: Policies, port: int = 8000) -> set[str]:
    return {each.name for each in (FRIEND, GATEWAY, STRANGER) if not found.refusal(each, SERVER, port)}


EVERYBODY = {"friend", "envoy", "stranger"}
NAMED = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway"}}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"podSelector": {"matchLabels": {"app": "another"}}}, EVERYBODY),
        ({}, set()),  # selected, and no rule: ingress is isolated
        ({"ingress": [{}]}, EVERYBODY),
        ({"policyTypes": ["Egress"]}, {"envoy", "stranger"}),  # the friend is selected, too, and may go nowhere
        ({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "load"}}}]}]}, {"friend"}),
        ({"ingress": [{"from": [{"namespaceSelector": {}}]}]}, EVERYBODY),
        ({"ingress": [{"from": [NAMED]}]}, {"envoy"}),
        ({"ingress": [{"from": [{**NAMED, "podSelector": {"matchLabels": {"app": "no"}}}]}]}, set()),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.3.0/24"]}}]}]},
         {"friend", "stranger"}),
        ({"ingress": [{"ports": [{"port": 8000}]}]}, EVERYBODY),
        ({"ingress": [{"ports": [{"port": "http"}]}]}, EVERYBODY),
        ({"ingress": [{"ports": [{"port": 9000}]}]}, set()),
        ({"ingress": [{"ports": [{"port": 7999, "endPort": 8001}]}]}, EVERYBODY),
        ({"ingress": [{"ports": [{"port": 8000, "protocol": "UDP"}]}]}, set()),
    ],
)  # fmt: skip
def test_ingress(spec: dict[str, Any], expected: set[str]) -> None:
    assert reached(policies(spec)) == expected


def test_rules_of_several_policies_add_up_and_go_with_them() -> None:
    found = policies({}, {"ingress": [{"from": [NAMED]}]})
    assert reached(found) == {"envoy"}
    found.policy_event("DELETED", policy("p1", {}))
    assert reached(found) == set()
    found.policy_event("DELETED", policy("p0", {}))
    assert reached(found) == EVERYBODY


def test_egress_asks_for_the_destination() -> None:
    only_names = {"policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}
    found = policies(only_names)
    assert "egress of llm/server" in found.refusal(SERVER, OUTSIDE, 443)
    assert found.refusal(SERVER, DNS, 53, "UDP") == ""
    assert "p0" in found.refusal(SERVER, DNS, 53, "TCP")
    assert found.refusal(GATEWAY, OUTSIDE, 443) == ""
    found.policy_event("ADDED", policy("p1", {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}))
    assert found.refusal(SERVER, OUTSIDE, 443) == ""


def test_nodes_and_the_pod_itself_are_always_let_in() -> None:
    found = policies({})
    assert found.refusal(None, SERVER, 8000) == ""
    assert found.refusal(SERVER, SERVER, 8000) == ""


def test_pods_are_known_by_their_address_while_they_have_it() -> None:
    found = Policies()
    pod = {"metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}}, "spec": {"containers": [{}]}}
    found.join("127.244.1.2", lambda: pod)
    assert found.party("127.244.1.2") == Party("10.244.1.2", "n", "p", {"a": "b"})
    pod["metadata"]["labels"] = {"a": "c"}
    assert (found.party("127.244.1.2") or OUTSIDE).labels == {"a": "c"}
    found.leave("127.244.1.2")
    assert found.party("127.244.1.2") is None


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [("In", ["b"], True), ("NotIn", ["b"], False), ("Exists", [], True), ("DoesNotExist", [], False)],
)
def test_expressions(operator: str, values: list[str], expected: bool) -> None:
    assert matches({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}, {"a": "b"}) is expected
