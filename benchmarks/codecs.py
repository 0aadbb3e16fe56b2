"""The Wan VAE as each implementation has it, all with the same random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..models.wan_vae import WAN21, WanVAE, WanVAEConfig, load_wan_vae, save_wan_vae
from .bench import Bench, make_noise
from .peers import COMFYUI, DIFFUSERS, OFFICIAL, Peers, import_comfyui, import_file
from .records import OURS
from .timing import Call

__all__ = [
    "ACTIONS",
    "OURS_BF16",
    "Codec",
    "build_codec",
    "import_codec",
    "list_codecs",
    "make_calls",
    "make_official",
    "write_weights",
]

ACTIONS = ("decode", "encode")
OURS_BF16 = f"{OURS}, bf16"
OFFICIAL_FILE = "wan/modules/vae2_1.py"
TINY = WanVAEConfig(dim=8)


@dataclass(frozen=True)
class Codec:
    """A VAE's two directions: a raw latent to pixels, and pixels to a raw latent."""

    decode: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]


def write_weights(bench: Bench) -> Path:
    """Write, once, a file of random weights whose activations stay near unit size, and return its path."""
    config = TINY if bench.is_quick else WAN21
    path = bench.folder / f"wan21_width{config.dim}.safetensors"
    if path.is_file():
        return path
    torch.manual_seed(0)
    vae = WanVAE(config, video=True).requires_grad_(False)
    for key, weight in vae.named_parameters():
        if key.endswith("gamma"):
            continue
        inputs = weight[0].numel() if not key.endswith(".past") else 3 * weight[0, 0].numel()
        weight.copy_(torch.randn_like(weight) / max(1.0, inputs**0.5) if weight.ndim > 1 else torch.zeros_like(weight))
    save_wan_vae(vae, path)
    return path


def list_codecs(peers: Peers, wanted: Sequence[str] = (OURS, OURS_BF16, COMFYUI, OFFICIAL, DIFFUSERS)) -> list[str]:
    """Return those of the wanted implementations that are there."""
    there = {OURS: True, OURS_BF16: True, COMFYUI: bool(peers.comfyui), OFFICIAL: bool(peers.official)}
    there[DIFFUSERS] = peers.has_diffusers
    return [name for name in wanted if there[name]]


def build_codec(name: str, path: Path, peers: Peers) -> Codec:
    """Return an implementation with the weights of a file."""
    makers: dict[str, Callable[[], Codec]] = {
        OURS: lambda: build_ours(path, torch.float32),
        OURS_BF16: lambda: build_ours(path, torch.bfloat16),
        DIFFUSERS: lambda: build_diffusers(path),
        COMFYUI: lambda: build_comfyui(path, peers),
        OFFICIAL: lambda: build_official(path, peers),
    }
    return makers[name]()


def import_codec(name: str, peers: Peers) -> None:
    """Import what an implementation is built from, which is no part of loading its file."""
    if name == DIFFUSERS:
        from diffusers import AutoencoderKLWan  # noqa: F401
    elif name == COMFYUI and peers.comfyui is not None:
        import_comfyui(peers.comfyui)
        import comfy.ldm.wan.vae  # noqa: F401
    elif name == OFFICIAL and peers.official is not None:
        import_file(peers.official / OFFICIAL_FILE, "official_vae2_1")


def build_ours(path: Path, dtype: torch.dtype) -> Codec:
    """Return this package's."""
    vae = load_wan_vae(path, dtype)
    return Codec(partial(vae.decode_raw, clamp=False), vae.encode_raw)


def build_diffusers(path: Path) -> Codec:
    """Return diffusers' AutoencoderKLWan, which clamps its images."""
    from diffusers import AutoencoderKLWan

    folder = path.with_suffix("")
    if not folder.is_dir():
        save_wan_vae(load_wan_vae(path, video=True), folder, "diffusers")
    vae = AutoencoderKLWan.from_pretrained(folder).eval()
    return Codec(lambda z: vae.decode(z).sample, lambda x: vae.encode(x).latent_dist.mean)


def build_comfyui(path: Path, peers: Peers) -> Codec:
    """Return ComfyUI's own: the class that its VAE loader builds, without the loader."""
    assert peers.comfyui is not None
    import_comfyui(peers.comfyui)
    from comfy.ldm.wan.vae import WanVAE as Theirs

    vae = Theirs(
        dim=read_width(path), z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True]
    )
    _fill(vae, path)
    return Codec(vae.decode, vae.encode)


def build_official(path: Path, peers: Peers) -> Codec:
    """Return the VAE of Wan-Video/Wan2.2."""
    vae = make_official(path, peers)
    return Codec(lambda z: vae.decode(z, [0, 1]), lambda x: vae.encode(x, [0, 1]))


def make_official(path: Path, peers: Peers) -> Any:
    """Return the network of Wan-Video/Wan2.2 with the weights of a file."""
    assert peers.official is not None
    module = import_file(peers.official / OFFICIAL_FILE, "official_vae2_1")
    vae = module.WanVAE_(dim=read_width(path), z_dim=16, temperal_downsample=[False, True, True])
    _fill(vae, path)
    return vae


def read_width(path: Path) -> int:
    """Return the channels of the first stage of a file's VAE."""
    with safe_open(path, "pt") as file:
        return int(file.get_slice("encoder.conv1.weight").get_shape()[0])


def make_input(action: str, size: int, frames: int = 1, channels: int = 16) -> Tensor:
    """Return a latent to decode, or pixels to encode, of images of this size."""
    if action == "decode":
        return make_noise(1, channels, 1 + (frames - 1) // 4, size // 8, size // 8)
    return make_noise(1, 3, frames, size, size).clamp(-2, 2) / 2


def make_calls(codecs: dict[str, Codec], action: str, size: int, frames: int = 1) -> dict[str, Call[Tensor]]:
    """Return the same work for each codec; images are compared as diffusers gives them, clamped."""
    given = make_input(action, size, frames)
    return {name: Call(partial(getattr(codec, action), given)) for name, codec in codecs.items()}


def _fill(vae: nn.Module, path: Path) -> None:
    vae.load_state_dict(load_file(path), strict=True)
    vae.eval().requires_grad_(False)
