"""Image references and what runs for them."""

import sys
from pathlib import Path

import pytest
import yaml

from vllm_sandbox.images import registry
from vllm_sandbox.images.registry import Context, Image, UnknownExecutable, UnknownImage, command_line, find, python

CONTEXT = Context("127.244.1.5", "gpu-0", {"PATH": "/usr/bin:/bin"}, lambda tool: Path("/bin") / tool)


@pytest.mark.parametrize(
    "reference",
    [
        "busybox",
        "busybox:1.36",
        "docker.io/library/busybox:1.36",
        "vllm/vllm-openai:v0.32.0",
        "docker.io/vllm/vllm-openai:latest",
    ],
)
def test_known_references(reference):
    assert find(reference)


@pytest.mark.parametrize(
    "reference", ["vllm/vllm-openai:v9.9.9", "nobody/nothing:1", "registry.example.com:5000/team/x:1"]
)
def test_unknown_ones_fail_as_a_runtime_says_it(reference):
    with pytest.raises(UnknownImage, match="failed to resolve reference .*not found"):
        find(reference)


def test_a_digest_names_an_image_whatever_its_tag():
    image = find("vllm/vllm-openai:v0.32.0")
    for name in (image.id, f"docker.io/{image.id}", f"vllm/vllm-openai:v0.1.0@{image.digest}"):
        assert find(name) is image
    with pytest.raises(UnknownImage, match="docker.io/vllm/vllm-openai@sha256:0+: not found"):
        find(f"vllm/vllm-openai:v0.32.0@sha256:{'0' * 64}")


def test_the_entrypoint_takes_args_and_a_command_replaces_it():
    vllm = find("vllm/vllm-openai:v0.32.0")
    serve = command_line(vllm, [], ["/models/x", "--port=1"], CONTEXT)
    assert serve == [sys.executable, "-m", "vllm_sandbox.vllm", "serve", "/models/x", "--port=1"]
    old = ["python3", "-m", "vllm.entrypoints.openai.api_server"]
    assert command_line(vllm, old, ["--model", "m"], CONTEXT)[-3:] == ["api-server", "--model", "m"]


def test_an_executable_that_the_image_lacks():
    with pytest.raises(UnknownExecutable, match="executable file not found"):
        command_line(find("vllm/vllm-openai:v0.32.0"), ["nginx"], [], CONTEXT)


def test_an_image_of_ones_own_is_one_entry():
    registry.register(
        Image("registry.example.com/team/router", entrypoint=("router",), programs={"router": python("team")})
    )
    argv = command_line(find("registry.example.com/team/router:1"), [], ["--x"], CONTEXT)
    assert argv == [sys.executable, "-m", "team", "--x"]


def surroundings(tmp_path, **env):
    return Context("127.244.1.5", "gpu-0", {"TMPDIR": str(tmp_path), **env}, lambda tool: Path("/bin") / tool)


def test_prometheus_listens_on_the_pod_only_and_finds_the_api_server(tmp_path):
    config = {"scrape_configs": [{"job_name": "x", "kubernetes_sd_configs": [{"role": "pod"}]}]}
    (tmp_path / "given.yml").write_text(yaml.safe_dump(config))
    args = ["--web.listen-address=:9191", f"--config.file={tmp_path}/given.yml", "--storage.tsdb.path=/x"]
    around = surroundings(tmp_path, KUBECONFIG="/pod/kubeconfig")
    program, *options = command_line(find("quay.io/prometheus/prometheus:v3"), [], args, around)
    assert program == "/bin/prometheus" and "--storage.tsdb.path=/x" in options
    assert "--web.listen-address=127.244.1.5:9191" in options and len(options) == 3
    file = next(word.partition("=")[2] for word in options if word.startswith("--config.file="))
    (job,) = yaml.safe_load(Path(file).read_text())["scrape_configs"]
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "kubeconfig_file": "/pod/kubeconfig"}]


def test_keda_listens_on_the_pod_only(tmp_path):
    around = surroundings(tmp_path, KUBECONFIG="/pod/kubeconfig", POD_NAMESPACE="keda")
    operator = command_line(find("ghcr.io/kedacore/keda:2.21.0"), ["/keda"], ["--leader-elect"], around)
    assert operator[:3] == ["/usr/bin/env", "KEDA_CLUSTER_OBJECT_NAMESPACE=keda", "/bin/keda-operator"]
    assert sum(word.endswith(("127.244.1.5:8080", "127.244.1.5:8081", "127.244.1.5:9666")) for word in operator) == 3
    adapter = command_line(find("ghcr.io/kedacore/keda-metrics-apiserver:2.21.0"), ["/keda-adapter"], [], around)
    assert "--bind-address=127.244.1.5" in adapter
    assert "--metrics-service-grpc-authority=keda-operator.keda.svc.cluster.local" in adapter
