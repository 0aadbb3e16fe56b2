"""What ComfyUI asks the pack for: its nodes, and the folders and old names that they need."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import grid, vae
from .host.folders import register_folders
from .renamed import register_removed, register_renamed
from .routes import register_routes
from .sampling import contract, experts, known, noise, plot, probe, schedules, solvers
from .sampling import samplers as sampling
from .student import embeds, lora
from .student import loader as student
from .world import actions, diagnose, play, rollout
from .world import loader as world

MODULES = (
    student,
    embeds,
    lora,
    sampling,
    vae,
    grid,
    schedules,
    plot,
    noise,
    solvers,
    contract,
    known,
    experts,
    probe,
    world,
    actions,
    rollout,
    diagnose,
    play,
)


class WanLiteExtension(ComfyExtension):
    """What ComfyUI asks the pack for."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return all nodes, module by module, once the host knows all else: hosts before 0.14 never call ``on_load``.

        It then knows the model folders that the nodes' lists show, the routes, and what stands for old ids and inputs.
        """
        register_folders()
        register_routes()
        await register_renamed()
        register_removed()
        return [node for module in MODULES for node in module.NODES]
