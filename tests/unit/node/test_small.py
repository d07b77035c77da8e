"""Back-off, quantities, path rewriting and environment: pure logic of the node agent."""

import base64
from decimal import Decimal
from pathlib import Path

import pytest

from vllm_sandbox.node.backoff import BackOff
from vllm_sandbox.node.environment import ConfigError, expand, resolve, service_variables
from vllm_sandbox.node.quantity import parse
from vllm_sandbox.node.rewrite import PathRewriter


def test_crash_loop_doubles_up_to_five_minutes_and_forgets_after_a_long_run():
    crash = BackOff()
    assert [crash.next_delay() for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert crash.next_delay(ran_s=601) == 0
    assert crash.next_delay() == 10


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("140Gi", 140 * 2**30),
        ("500m", Decimal("0.5")),
        ("4", 4),
        (2, 2),
        ("1k", 1000),
        ("1e3", 1000),
        ("1.5Gi", 1.5 * 2**30),
    ],
)
def test_quantities(text, value):
    assert parse(text) == value


@pytest.mark.parametrize("text", ["", "4 Gi", "Gi", "12X", "1ee3"])
def test_what_is_no_quantity_is_refused_by_name(text):
    with pytest.raises(ValueError, match="not a Kubernetes quantity"):
        parse(text)


class TestRewriting:
    rewrite = PathRewriter({"/models": Path("/v/weights"), "/models/cache": Path("/v/cache"), "/tmp": Path("/v/tmp")})

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("/models", "/v/weights"),
            ("/models/Qwen/x", "/v/weights/Qwen/x"),
            ("--model=/models/q", "--model=/v/weights/q"),
            ("/models/cache/a", "/v/cache/a"),
            ("cp /models/a /tmp/b; ls /models", "cp /v/weights/a /v/tmp/b; ls /v/weights"),
            ('{"path": "/models/x"}', '{"path": "/v/weights/x"}'),
            ("a:/models:b", "a:/v/weights:b"),
        ],
    )
    def test_paths_below_a_mount_are_replaced(self, before, after):
        assert self.rewrite(before) == after

    @pytest.mark.parametrize(
        "text", ["/models2", "/models-old/x", "/data/models", "models/x", "./models", "/models.txt"]
    )
    def test_other_paths_stay(self, text):
        assert self.rewrite(text) == text

    def test_without_mounts_nothing_changes(self):
        assert PathRewriter({})("/models /") == "/models /"


class TestEnvironment:
    def test_references(self):
        assert expand("$(A)-$(B)-$$(A)-$C", {"A": "1"}) == "1-$(B)-$(A)-$C"

    async def test_later_sources_win_and_references_see_earlier_variables(self):
        objects = {
            ("configmaps", "cm"): {"kind": "ConfigMap", "data": {"A": "from-map", "B": "map"}},
            ("secrets", "s"): {"kind": "Secret", "data": {"token": base64.b64encode(b"secret").decode()}},
        }

        async def fetch(kind, name):
            return objects.get((kind, name))

        container = {
            "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "P_"}, {"configMapRef": {"name": "cm"}}],
            "env": [
                {"name": "A", "value": "own"},
                {"name": "C", "value": "$(A)/$(P_B)"},
                {"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "x", "optional": True}}},
            ],
            "resources": {"limits": {"memory": "2Gi"}},
        }
        pod = {"metadata": {"name": "p", "namespace": "n", "labels": {"app": "x"}}, "spec": {}}
        values = await resolve(pod, container, fetch, [])
        assert values == {
            "P_A": "from-map", "P_B": "map", "B": "map", "A": "own", "C": "own/map", "T": "secret",
            "POD": "p", "LABEL": "x", "MEM": "2048",
        }  # fmt: skip

    @pytest.mark.parametrize("ref", [{"name": "gone", "key": "k"}, {"name": "here", "key": "other"}])
    async def test_a_missing_key_or_secret_is_named(self, ref):
        async def fetch(kind, name):
            return {"kind": "Secret", "data": {}} if name == "here" else None

        container = {"env": [{"name": "T", "valueFrom": {"secretKeyRef": ref}}]}
        pod = {"metadata": {"name": "p", "namespace": "n"}, "spec": {}}
        with pytest.raises(ConfigError, match=ref["name"]):
            await resolve(pod, container, fetch, [])

    def test_a_service_named_vllm_sets_vllm_port(self):
        service = {
            "metadata": {"name": "vllm", "namespace": "llm"},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 8000, "name": "http"}]},
        }
        values = service_variables([service], "llm", links=True)
        assert values["VLLM_PORT"] == "tcp://10.96.0.9:8000"
        assert values["VLLM_SERVICE_PORT_HTTP"] == "8000"
        assert service_variables([service], "llm", links=False) == {}
        assert service_variables([service], "other", links=True) == {}
