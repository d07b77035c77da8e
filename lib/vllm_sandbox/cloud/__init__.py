"""The cloud below the sandbox: takes spot instances back by the rules of the clouds that it stands for."""

from vllm_sandbox.cloud.reclaim import running_cloud
from vllm_sandbox.cloud.rules import CLOUDS, RECLAIM

__all__ = ["CLOUDS", "RECLAIM", "running_cloud"]
