"""Simulated NVIDIA device plugin: advertises the node's GPUs to the node agent.

It stays connected for as long as it runs; when it ends, its GPUs stop being allocatable, as with
the real plugin. Source of its messages: NVIDIA/k8s-device-plugin, README and logs.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

RESOURCE = "nvidia.com/gpu"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    gpus = json.loads(os.environ.get("SANDBOX_NODE_GPUS", "[]"))
    print("I SIMULATED device plugin of the sandbox: no GPU is used", flush=True)
    if not gpus:
        print("E No devices found. Waiting indefinitely.", flush=True)
        print("I If this is a GPU node, is the driver installed and the container toolkit configured?", flush=True)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(os.environ["SANDBOX_AGENT_SOCKET"])
        if gpus:
            registration = {"resource": RESOURCE, "ids": [gpu["id"] for gpu in gpus]}
            message = {"token": os.environ["SANDBOX_CONTAINER_TOKEN"], "register": registration}
            agent.sendall(json.dumps(message).encode() + b"\n")
            print(f"I Registered device plugin for '{RESOURCE}' with Kubelet: {len(gpus)} devices", flush=True)
        agent.recv(1)  # the agent never writes: this returns when it is gone
    return 1


if __name__ == "__main__":
    sys.exit(main())
