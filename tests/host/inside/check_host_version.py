"""A ComfyUI that is too old is told so in one sentence, before anything of it is used that it may lack."""

from __future__ import annotations

import asyncio
from pathlib import Path

from harness import pack, raises, submodule


def entered(version: str):
    """Call the pack as a host of that version does."""
    module = submodule("nodes")
    known, module.host_version = module.host_version, version
    try:
        return asyncio.new_event_loop().run_until_complete(pack().comfy_entrypoint())
    finally:
        module.host_version = known


def check_an_older_host_is_told_in_one_sentence():
    for version in ("0.3.64", "0.11.0", "0.9.2"):
        message = raises(RuntimeError, lambda version=version: entered(version))
        assert message.count(version) == 1 and "0.11.1 or later" in message and "update ComfyUI" in message
        assert "\n" not in message


def check_this_and_later_hosts_get_the_nodes():
    for version in ("0.11.1", "0.12.0", "1.0.0", submodule("nodes").host_version):
        assert isinstance(entered(version), submodule("nodes.extension").WanLiteExtension)


def check_the_oldest_is_the_one_that_is_declared():
    oldest = submodule("nodes").OLDEST_HOST
    folder = Path(pack().__file__).parent
    assert f'\nrequires-comfyui = ">={oldest}"\n' in (folder / "pyproject.toml").read_text("utf-8")
    assert f" {oldest} or later |" in (folder / "README.md").read_text("utf-8")
