"""The Wan VAE of each implementation on a device, all with the same random weights."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from ...models.wan_vae import WAN21, WanVAE, WanVAEConfig, load_wan_vae, save_wan_vae

__all__ = ["Codec", "Peer", "build_ours", "find_peers", "write_weights"]

LEFT_OUT = ("comfy_aimdo", "comfy_kitchen", "psutil", "torchsde", "torchaudio", "torchvision", "transformers", "tqdm")
"""What ComfyUI imports and its VAE does not use: stood in for where it is not installed."""


@dataclass(frozen=True)
class Codec:
    """A VAE's two directions: a raw latent to pixels, and pixels to a raw latent."""

    decode: Callable[[Tensor], Any]
    encode: Callable[[Tensor], Any]


Peer = Callable[[Path, torch.dtype, torch.device], Codec]
"""Builds a codec from a file of weights."""


def write_weights(path: Path, is_quick: bool) -> Path:
    """Write random weights whose activations stay near unit size, of the published width unless it is to be quick."""
    torch.manual_seed(0)
    config = WanVAEConfig(dim=8) if is_quick else WAN21
    vae = WanVAE(config, video=True).requires_grad_(False)
    for name, weight in vae.named_parameters():
        if name.endswith("gamma"):
            continue
        inputs = weight[0].numel() if not name.endswith(".past") else 3 * weight[0, 0].numel()
        weight.copy_(torch.randn_like(weight) / max(1.0, inputs**0.5) if weight.ndim > 1 else torch.zeros_like(weight))
    save_wan_vae(vae, path)
    return path


def build_ours(path: Path, dtype: torch.dtype, device: torch.device) -> Codec:
    """Return this package's."""
    vae = load_wan_vae(path, dtype, device)
    return Codec(lambda z: vae.decode_raw(z, clamp=False), vae.encode_raw)


def find_peers(comfyui: Path | None) -> tuple[dict[str, Peer], dict[str, str]]:
    """Return what can be compared with, and why the others cannot, by name.

    Args:
        comfyui: A ComfyUI checkout, or None.
    """
    found: dict[str, Peer] = {}
    absent: dict[str, str] = {}
    if comfyui is None:
        absent["ComfyUI"] = "--comfyui was not given"
    else:
        try:
            stood_in = import_comfyui(comfyui)
            found["ComfyUI"] = _build_comfyui
            absent |= {f"{name} (for ComfyUI)": "not installed; its VAE does not use it" for name in stood_in}
        except Exception as error:
            absent["ComfyUI"] = f"cannot be imported: {type(error).__name__}: {error}"
    if importlib.util.find_spec("diffusers") is None:
        absent["diffusers"] = "not installed"
    else:
        found["diffusers"] = _build_diffusers
    return found, absent


def import_comfyui(root: Path) -> list[str]:
    """Import ComfyUI's VAE, and return the packages that it imports and that had to be stood in for."""
    finder = _StandIns(LEFT_OUT)
    sys.path.insert(0, str(root))
    sys.meta_path.append(finder)
    argv, sys.argv = sys.argv, [sys.argv[0], *([] if torch.cuda.is_available() else ["--cpu"])]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.ldm.wan.vae
    finally:
        sys.argv = argv
        sys.meta_path.remove(finder)
    return sorted(finder.made)


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes empty modules in place of some that are not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.made = names, set[str]()

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Answer for the names and what is inside of them; asked last, after everything that is installed."""
        top = fullname.partition(".")[0]
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if top in self.names else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Return a module in which everything is found."""
        self.made.add(spec.name.partition(".")[0])
        return _make_memory_module(spec.name) if spec.name == "psutil" else _EmptyModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing: there is nothing to run."""


class _EmptyModule(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {}) if name[0].isupper() else mock.MagicMock(name=name)


def _make_memory_module(name: str) -> types.ModuleType:
    """Return what ComfyUI asks of psutil: the machine's memory."""
    module = types.ModuleType(name)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = types.SimpleNamespace(total=total, available=total // 2, percent=50.0)
    module.virtual_memory = module.swap_memory = lambda: memory  # type: ignore[attr-defined]
    return module


def _build_comfyui(path: Path, dtype: torch.dtype, device: torch.device) -> Codec:
    from comfy.ldm.wan.vae import WanVAE as Theirs
    from safetensors.torch import load_file

    tensors = load_file(path)
    vae = Theirs(
        dim=len(tensors["encoder.conv1.weight"]),
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        temperal_downsample=[False, True, True],
    )
    vae.load_state_dict(tensors, strict=True)
    vae.eval().requires_grad_(False).to(device, dtype)
    return Codec(lambda z: vae.decode(z.to(dtype)), lambda x: vae.encode(x.to(dtype)))


def _build_diffusers(path: Path, dtype: torch.dtype, device: torch.device) -> Codec:
    from diffusers import AutoencoderKLWan

    folder = path.with_suffix("")
    if not folder.is_dir():
        save_wan_vae(load_wan_vae(path, video=True), folder, "diffusers")
    vae = AutoencoderKLWan.from_pretrained(folder, torch_dtype=dtype, low_cpu_mem_usage=False).eval().to(device)
    return Codec(lambda z: vae.decode(z.to(dtype)).sample, lambda x: vae.encode(x.to(dtype)).latent_dist.mean)
