"""What a measurement depends on besides the code: the processor, its flags, threads, versions, the machine's load."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import psutil
import torch

__all__ = ["describe_load", "describe_machine"]

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "sve", "bf16")
PACKAGES = ("torch", "diffusers", "einops", "safetensors")


def describe_machine() -> dict[str, Any]:
    """Return processor, flags, cores, memory, versions, and the day."""
    information = _read_cpu_information()
    flags = information.get("flags", information.get("Features", "")).split()
    return {
        "date": datetime.date.today().isoformat(),
        "processor": information.get("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"Python": platform.python_version(), **_list_versions()},
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def describe_load() -> dict[str, Any]:
    """Return the threads of torch and the load of the machine at this moment."""
    return {"threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 1)}


def _list_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _read_cpu_information() -> dict[str, str]:
    """Return the fields of the first processor in /proc/cpuinfo; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text("utf-8").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
