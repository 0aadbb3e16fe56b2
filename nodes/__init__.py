"""The pack's nodes, and the only code here that imports ComfyUI."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import contract, embeds, experts, noise, plot, rollout, sampling, schedules, solvers, student, vae, world
from .host import register_folders

MODULES = (student, embeds, sampling, vae, schedules, plot, noise, solvers, contract, experts, world, rollout)


class WanLiteExtension(ComfyExtension):
    """What ComfyUI asks the pack for."""

    async def on_load(self) -> None:
        """Add the pack's model folders to the host's."""
        register_folders()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes, module by module."""
        return [node for module in MODULES for node in module.NODES]
