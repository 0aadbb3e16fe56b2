"""Wan Lite: distilled Wan students, the Wan VAE and small world models, sampled as they were trained.

The repository root is the package. As a library, import :mod:`wan_lite.models` and :mod:`wan_lite.samplers`;
inside ComfyUI the host calls :func:`comfy_entrypoint`. Importing this module loads neither torch nor the host.
"""

__version__ = "0.1.0"

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> object:
    """Return the pack's nodes to ComfyUI (called by the host, never by library users)."""
    from .nodes import make_extension

    return make_extension()
