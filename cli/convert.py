"""``wan-lite convert``: a Wan VAE from any layout in circulation to the official or diffusers' one."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import PRECISIONS, torch_dtype

__all__ = ["add_convert"]


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``convert``."""
    parser.add_argument("source", type=Path, help="a Wan VAE: .pth, .safetensors, or diffusers' folder")
    parser.add_argument("target", type=Path, help=".safetensors or .pth; for diffusers also a folder, made if needed")
    parser.add_argument("--layout", choices=("official", "diffusers"), required=True, help="names of the tensors")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), help="default: that of the source")
    parser.set_defaults(run=convert)


def convert(options: argparse.Namespace) -> None:
    """Read the source whole, with what clips need, and write it again; the header's entries are kept."""
    from ..models.wan_vae import load_wan_vae, save_wan_vae
    from ..models.wan_vae_files import VAEFile

    if options.target.resolve() == options.source.resolve():
        raise ValueError(f"{options.target}: is the source, which is never overwritten; choose another target.")
    file = VAEFile(options.source)
    precision = torch_dtype(options.precision) if options.precision else None
    vae = load_wan_vae(options.source, dtype=precision or file.dtype, clips=True)
    written = save_wan_vae(vae, options.target, options.layout, file.metadata)
    print(f"{written}: {vae.config.variant} VAE, {options.layout} layout, {written.stat().st_size / 2**20:.1f} MB")
