"""The Wan VAE: its layers, its files in every layout, and how it runs as a stream of rows."""

from .config import WAN21, WAN22, WanVAEConfig
from .loading import VAEFile, load_wan_vae, official_state_dict, save_wan_vae
from .tiling import Tiling
from .vae import WanVAE

__all__ = [
    "WAN21",
    "WAN22",
    "Tiling",
    "VAEFile",
    "WanVAE",
    "WanVAEConfig",
    "load_wan_vae",
    "official_state_dict",
    "save_wan_vae",
]
