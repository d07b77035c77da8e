"""The simulated DCGM exporter: real names and labels, values from what containers do with the GPUs."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from vllm_sandbox.config import GIB, NodeSpec
from vllm_sandbox.images import dcgm_exporter
from vllm_sandbox.node.devices import DeviceManager, Use, node_gpus
from vllm_sandbox.node.reports import ReportSocket
from vllm_sandbox.vllm.gpu_use import GpuReporter


@pytest.fixture
def devices() -> DeviceManager:
    node = NodeSpec(name="gpu-0", gpus=2, gpu_product="NVIDIA-A100-SXM4-80GB", gpu_memory_gib=80)
    made = DeviceManager(node_gpus(node), lambda: None)
    made.register("nvidia.com/gpu", [gpu["id"] for gpu in made.gpus])
    return made


def samples(page: str) -> dict[tuple[str, str], Any]:
    families = text_string_to_metric_families(page)
    return {(each.name, each.labels["gpu"]): each for family in families for each in family.samples}


def energy(page: str) -> float:
    """Of the first GPU; the client's parser gives a counter without _total another name."""
    found = re.search(r'^DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION\{gpu="0".*\} (\S+)$', page, re.MULTILINE)
    assert found
    return float(found[1])


def test_a_gpu_shows_who_has_it_and_what_it_does(devices: DeviceManager) -> None:
    gpus = devices.allocate("uid", "nvidia.com/gpu", 1)
    devices.use(gpus, Use("llm", "server-1", "vllm", 0.5, 60 * GIB))
    page = dcgm_exporter.Exporter("gpu-0").page(devices.readings())
    found = samples(page)
    busy = next(number for number, gpu in enumerate(devices.readings()) if gpu["id"] == gpus[0]["id"])
    held, free = str(busy), str(1 - busy)
    assert found["DCGM_FI_DEV_GPU_UTIL", held].value == 50 and found["DCGM_FI_DEV_GPU_UTIL", free].value == 0
    assert found["DCGM_FI_DEV_FB_USED", held].value == 61440 and found["DCGM_FI_DEV_FB_FREE", held].value == 20480
    assert found["DCGM_FI_DEV_POWER_USAGE", held].value > found["DCGM_FI_DEV_POWER_USAGE", free].value > 0
    labels = found["DCGM_FI_DEV_GPU_TEMP", held].labels
    assert (labels["namespace"], labels["pod"], labels["container"]) == ("llm", "server-1", "vllm")
    assert "pod" not in found["DCGM_FI_DEV_GPU_TEMP", free].labels
    assert {"gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname"} <= set(labels)
    devices.release("uid")
    assert "pod=" not in dcgm_exporter.Exporter("gpu-0").page(devices.readings())


def test_every_field_is_on_the_page_once_for_each_gpu(devices: DeviceManager) -> None:
    exporter = dcgm_exporter.Exporter("gpu-0")
    page = exporter.page(devices.readings())
    for name, kind, _ in dcgm_exporter.FIELDS:
        assert page.count(f"# TYPE {name} {kind}\n") == 1 and len(re.findall(rf"^{name}\{{", page, re.MULTILINE)) == 2
    assert energy(exporter.page(devices.readings())) >= energy(page)
    assert exporter.page([]) == ""


class Container:
    """A container that reports, on a node with its GPUs."""

    def __init__(self, devices: DeviceManager) -> None:
        self._devices = devices
        self.gpus = devices.allocate("uid", "nvidia.com/gpu", 1)

    def memory_reported(self, memory_bytes: int) -> None: ...

    def devices_registered(self, resource: str, ids: list[str]) -> None: ...

    def devices_gone(self, resource: str) -> None: ...

    def gpus_used(self, busy: float, memory_bytes: int) -> None:
        self._devices.use(self.gpus, Use("llm", "p", "c", busy, memory_bytes))

    def gpus_of_node(self) -> list[dict[str, Any]]:
        return self._devices.readings()


async def test_what_one_container_reports_another_reads(
    devices: DeviceManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    reports = ReportSocket(tmp_path / "agent.sock")
    token = reports.admit(Container(devices))
    monkeypatch.setenv("SANDBOX_AGENT_SOCKET", str(reports.file))
    monkeypatch.setenv("SANDBOX_CONTAINER_TOKEN", token)
    seconds = 0.0

    def busy_seconds() -> float:
        nonlocal seconds
        seconds += 1000  # busier than any clock: always
        return seconds

    async with reports.listening():
        reporter = asyncio.create_task(GpuReporter(busy_seconds, GIB).run())
        try:
            async with asyncio.timeout(10):
                while not any(gpu["use"]["busy"] for gpu in await asyncio.to_thread(dcgm_exporter.node_gpus)):
                    await asyncio.sleep(0)
        finally:
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)
        (used,) = [gpu["use"] for gpu in await asyncio.to_thread(dcgm_exporter.node_gpus) if gpu["use"]["busy"]]
    assert (used["busy"], used["memory_bytes"], used["pod"]) == (1.0, GIB, "p")


def test_an_idle_server_says_so_once() -> None:
    reporter = GpuReporter(lambda: 0.0, GIB)
    assert reporter.news() == {"gpu": {"busy": 0.0, "memory_bytes": GIB}}
    assert reporter.news() is None
