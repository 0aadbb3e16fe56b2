"""The Wan VAE: its layers, its files in every layout, and how it runs strip by strip."""

from .config import WAN21, WAN22, WanVAEConfig
from .loading import official_state_dict
from .tiling import Tiling
from .vae import WanVAE, load_wan_vae, save_wan_vae

__all__ = ["WAN21", "WAN22", "Tiling", "WanVAE", "WanVAEConfig", "load_wan_vae", "official_state_dict", "save_wan_vae"]
