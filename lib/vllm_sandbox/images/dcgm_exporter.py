"""Simulated DCGM exporter: the node's GPUs as the real one shows them, from what the node agent knows of them.

Names, types, helps and labels are those of NVIDIA/dcgm-exporter with its default counters (etc/default-counters.csv),
for which it needs no special rights. Memory and utilization are what the simulated servers report. Power, temperature
and clocks are a straight line between idle and full load of an A100 SXM (NVIDIA A100 data sheet: 400 W; SM clock
1,410 MHz): an assumption. Nothing ever breaks here, so errors stay 0.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GPU = dict[str, Any]
MIB = 2**20
_DRIVER = "580.105.08"
_IDLE_W, _FULL_W = 60.0, 400.0
_IDLE_C, _FULL_C = 31.0, 66.0
_IDLE_MHZ, _FULL_MHZ, _MEMORY_MHZ = 210, 1410, 1593

#: Field, type, help.
FIELDS = (
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz)."),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz)."),
    ("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Memory temperature (in C)."),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C)."),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W)."),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy consumption since boot (in mJ)."),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter", "Total number of PCIe retries."),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %)."),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %)."),
    ("DCGM_FI_DEV_ENC_UTIL", "gauge", "Encoder utilization (in %)."),
    ("DCGM_FI_DEV_DEC_UTIL", "gauge", "Decoder utilization (in %)."),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered."),
    ("DCGM_FI_DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB)."),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB)."),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "counter", "Total number of NVLink bandwidth counters for all lanes"),
    ("DCGM_FI_DEV_VGPU_LICENSE_STATUS", "gauge", "vGPU License status"),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "counter", "Number of remapped rows for uncorrectable errors"),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "counter", "Number of remapped rows for correctable errors"),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows has failed"),
)


class Exporter:
    """The page, and the energy that was used so far.

    Args:
        hostname: the label Hostname: NODE_NAME where that is set, as the real one does it.
    """

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._energy_mj: dict[str, float] = {}
        self._at = time.monotonic()

    def page(self, gpus: list[GPU]) -> str:
        """Every field of every GPU, in Prometheus' text format."""
        now = time.monotonic()
        elapsed, self._at = now - self._at, now
        rows = [(self._labels(index, gpu), self._values(gpu, elapsed)) for index, gpu in enumerate(gpus)]
        lines = []
        for name, kind, words in FIELDS if rows else ():
            lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{{{labels}}} {values.get(name, 0):g}" for labels, values in rows]
        return "\n".join([*lines, ""])

    def _labels(self, index: int, gpu: GPU) -> str:
        found = {
            "gpu": str(index),
            "UUID": gpu["id"],
            "pci_bus_id": f"00000000:{index + 7:02X}:00.0",
            "device": f"nvidia{index}",
            "modelName": gpu["product"].replace("-", " ", 1),
            "Hostname": self._hostname,
            "DCGM_FI_DRIVER_VERSION": _DRIVER,
        }
        use = gpu["use"]
        if use["pod"]:
            found |= {name: use[name] for name in ("container", "namespace", "pod")}
        return ",".join(f'{name}="{value}"' for name, value in found.items())

    def _values(self, gpu: GPU, elapsed: float) -> dict[str, float]:
        busy, used = gpu["use"]["busy"], gpu["use"]["memory_bytes"] / MIB
        watts = _IDLE_W + busy * (_FULL_W - _IDLE_W)
        energy = self._energy_mj.get(gpu["id"], 0.0) + watts * elapsed * 1000
        self._energy_mj[gpu["id"]] = energy
        celsius = _IDLE_C + busy * (_FULL_C - _IDLE_C)
        return {
            "DCGM_FI_DEV_SM_CLOCK": _FULL_MHZ if busy else _IDLE_MHZ,
            "DCGM_FI_DEV_MEM_CLOCK": _MEMORY_MHZ,
            "DCGM_FI_DEV_MEMORY_TEMP": round(celsius) + 2,
            "DCGM_FI_DEV_GPU_TEMP": round(celsius),
            "DCGM_FI_DEV_POWER_USAGE": round(watts, 3),
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": round(energy),
            "DCGM_FI_DEV_GPU_UTIL": round(100 * busy),
            "DCGM_FI_DEV_MEM_COPY_UTIL": round(60 * busy),
            "DCGM_FI_DEV_FB_USED": round(used),
            "DCGM_FI_DEV_FB_FREE": round(gpu["memory_bytes"] / MIB - used),
        }


def node_gpus() -> list[GPU]:
    """Ask the node agent, as the real one asks the driver and the kubelet."""
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(os.environ["SANDBOX_AGENT_SOCKET"])
        question = {"token": os.environ["SANDBOX_CONTAINER_TOKEN"], "ask": "gpus"}
        agent.sendall(json.dumps(question).encode() + b"\n")
        with agent.makefile() as answer:
            return list(json.loads(answer.readline()))


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(os.environ.get("DCGM_EXPORTER_LISTEN", ":9400").rpartition(":")[2])
    exporter = Exporter(os.environ.get("NODE_NAME") or socket.gethostname())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = {
                "/health": lambda: "KO" if not node_gpus() else "OK",
                "/metrics": lambda: exporter.page(node_gpus()),
            }
            found = known.get(self.path)
            body = (found() if found else "not found").encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    print("SIMULATED DCGM exporter of the sandbox: power, temperature and clocks are assumptions", flush=True)
    print(f"Initializing DCGM Exporter; {len(node_gpus())} GPUs", flush=True)
    ThreadingHTTPServer((os.environ.get("SANDBOX_POD_IP", "127.0.0.1"), port), Handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
