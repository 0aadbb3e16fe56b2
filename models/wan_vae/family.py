"""Which member of the Wan VAE's family a file is, and what tells it apart."""

from __future__ import annotations

from dataclasses import dataclass

from .config import WAN21, WanVAEConfig

__all__ = ["Member", "name_member"]

_QWEN_CLASS = "AutoencoderKLQwenImage"


@dataclass(frozen=True)
class Member:
    """A member of the family.

    Args:
        name: What it is called.
        told_by: What shows it; the tensors wherever they can.
    """

    name: str
    told_by: str


def name_member(config: WanVAEConfig, file: str = "", class_name: str = "") -> Member:
    """Name a VAE.

    Wan 2.1's, Qwen-Image's and both of Wan-Alpha's have tensors of the same names and shapes; only their values differ.
    These are told apart by the class in a diffusers ``config.json``, or by the file's name.

    Args:
        config: Its shape.
        file: Name of the file.
        class_name: Of diffusers, from its ``config.json``.
    """
    if config.patch_size == 2:
        return Member("Wan 2.2 VAE (TI2V-5B)", f"stages with shortcuts, patches of 2x2, {config.z_dim} latent channels")
    if config.upscale > 1:
        return Member(
            f"Wan 2.1 VAE that decodes to {config.upscale} times the size, images only",
            f"the decoder gives {config.head_channels} values for {config.out_channels} channels",
        )
    if config.in_channels == 4:
        return Member("Qwen-Image-Layered VAE", "four image channels: red, green, blue, alpha")
    if class_name == _QWEN_CLASS:
        return Member("Qwen-Image VAE", f"class {_QWEN_CLASS} in config.json")
    if config.dim != WAN21.dim and config.z_dim == WAN21.z_dim:
        return Member("pruned Wan 2.1 VAE", f"width {config.dim} where Wan 2.1's has {WAN21.dim}")
    return _name_by_hint(config, file.lower())


def _name_by_hint(config: WanVAEConfig, file: str) -> Member:
    hints = {
        "qwen": "Qwen-Image VAE",
        "alpha_channel": "Wan-Alpha's VAE of the alpha channel (join it with the other's images)",
        "rgb_channel": "Wan-Alpha's VAE of the colours",
    }
    for part, name in hints.items():
        if part in file:
            return Member(name, f"'{part}' in the file's name; its tensors have Wan 2.1's shapes")
    return Member(
        "Wan 2.1 VAE", f"{config.z_dim} latent channels, width {config.dim} (Qwen-Image's has the same shapes)"
    )
