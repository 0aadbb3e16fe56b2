"""The pack's nodes, and the only code here that imports ComfyUI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfyui_version import __version__ as host_version

if TYPE_CHECKING:
    from .extension import WanLiteExtension

OLDEST_HOST = "0.11.1"


def make_extension() -> WanLiteExtension:
    """Return what ComfyUI asks the pack for.

    Raises:
        RuntimeError: This ComfyUI is older than the nodes need; the host shows the sentence and continues without them.
    """
    if parse_version(host_version) < parse_version(OLDEST_HOST):
        raise RuntimeError(
            f"Wan Lite needs ComfyUI {OLDEST_HOST} or later, and this is {host_version}; update ComfyUI and start it "
            "again."
        )
    from .extension import WanLiteExtension

    return WanLiteExtension()


def parse_version(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version: ``0.11.1`` is (0, 11, 1)."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
