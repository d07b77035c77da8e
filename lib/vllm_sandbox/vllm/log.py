"""Log lines in the real server's format, on standard output; each process of it names itself."""

from __future__ import annotations

import os
import time


def info(message: str, source: str = "api_server.py:1", process: str = "APIServer", level: str = "INFO") -> None:
    """One line: ``(APIServer pid=7) INFO 11-24 08:06:53 [api_server.py:1] …``."""
    stamp = time.strftime("%m-%d %H:%M:%S")
    print(f"({process} pid={os.getpid()}) {level} {stamp} [{source}] {message}", flush=True)


def error(message: str, source: str, process: str = "EngineCore") -> None:
    info(message, source, process, "ERROR")
