"""``wan-lite convert``: a Wan VAE to the official or diffusers' layout, a world's checkpoints to one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import PRECISIONS, torch_dtype
from .terminal import say

__all__ = ["add_convert"]


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``convert``."""
    parser.add_argument(
        "source", type=Path, help="a Wan VAE (.pth, .safetensors, diffusers' folder), or a world's folder"
    )
    parser.add_argument("target", type=Path, help=".safetensors or .pth; for diffusers also a folder, made if needed")
    parser.add_argument(
        "--layout",
        choices=("official", "diffusers", "world"),
        required=True,
        help="names of a VAE's tensors; world: a TinyWorlds training run as one .safetensors file",
    )
    parser.add_argument("--dynamics", type=Path, help="for a world of single files, whose source is the tokenizer")
    parser.add_argument("--action-model", type=Path, help="... its latent action model")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), help="default: that of the source")
    parser.set_defaults(run=convert)


def convert(options: argparse.Namespace) -> None:
    """Read the source whole, with what videos need, and write it again; the header's entries are kept."""
    from ..models.wan_vae import load_wan_vae, save_wan_vae
    from ..models.wan_vae.loading import VAEFile

    if options.target.resolve() == options.source.resolve():
        raise ValueError(f"{options.target}: is the source, which is never overwritten; choose another target.")
    if options.layout == "world":
        return convert_world_files(options)
    if options.dynamics is not None or options.action_model is not None:
        raise ValueError(
            f"--dynamics and --action-model belong to --layout world, not to {options.layout}; leave them out."
        )
    file = VAEFile(options.source)
    precision = torch_dtype(options.precision) if options.precision else None
    vae = load_wan_vae(options.source, dtype=precision or file.dtype, video=True)
    written = save_wan_vae(vae, options.target, options.layout, file.metadata)
    say(f"{written}: {vae.config.variant} VAE, {options.layout} layout, {written.stat().st_size / 2**20:.1f} MB")


def convert_world_files(options: argparse.Namespace) -> None:
    """Write the networks of a world and their sizes into one file."""
    from ..models.world import convert_world

    if options.target.suffix != ".safetensors":
        raise ValueError(f"{options.target}: a world is written as .safetensors; choose such a name.")
    if options.action_model is not None and options.dynamics is None:
        raise ValueError(
            "--action-model needs --dynamics too: then the source is the tokenizer; or give a folder alone."
        )
    precision = torch_dtype(options.precision) if options.precision else None
    if options.dynamics is None:
        world = convert_world(options.target, options.source, dtype=precision)
    else:
        paths = {"tokenizer": options.source, "actions": options.action_model, "dynamics": options.dynamics}
        world = convert_world(options.target, dtype=precision, **paths)
    say(f"{options.target}: {world.describe()}, {options.target.stat().st_size / 2**20:.1f} MB")
