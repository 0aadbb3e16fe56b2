"""Which name each tensor of a Wan VAE has in the official and in the diffusers layout, and which VAE a file holds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from .config import WanVAEConfig

__all__ = ["build_diffusers_config", "infer_config", "is_diffusers", "map_official_names", "to_diffusers"]

_OUTER = {  # official -> diffusers, at the front of a name
    "conv1.": "quant_conv.",
    "conv2.": "post_quant_conv.",
    "encoder.conv1.": "encoder.conv_in.",
    "decoder.conv1.": "decoder.conv_in.",
    "encoder.head.0.": "encoder.norm_out.",
    "decoder.head.0.": "decoder.norm_out.",
    "encoder.head.2.": "encoder.conv_out.",
    "decoder.head.2.": "decoder.conv_out.",
    **{f"{x}.middle.0.": f"{x}.mid_block.resnets.0." for x in ("encoder", "decoder")},
    **{f"{x}.middle.1.": f"{x}.mid_block.attentions.0." for x in ("encoder", "decoder")},
    **{f"{x}.middle.2.": f"{x}.mid_block.resnets.1." for x in ("encoder", "decoder")},
}
_INNER = {  # official -> diffusers, inside a residual block
    ".residual.0.": ".norm1.",
    ".residual.2.": ".conv1.",
    ".residual.3.": ".norm2.",
    ".residual.6.": ".conv2.",
    ".shortcut.": ".conv_shortcut.",
}


def is_diffusers(names: Iterable[str]) -> bool:
    """Whether these are diffusers' names (AutoencoderKLWan)."""
    return any(".mid_block.resnets.0.norm1.gamma" in name for name in names)


def map_official_names(names: Sequence[str]) -> dict[str, str]:
    """Map official name -> name in the file, whichever of the two layouts the file has."""
    if not is_diffusers(names):
        return {name: name for name in names}
    blocks = len({m[1] for name in names if (m := re.match(r"decoder\.up_blocks\.0\.resnets\.(\d{1,4})\.", name))})
    return {_to_official(name, blocks, nested=_is_nested(names)): name for name in names}


def to_diffusers(name: str, config: WanVAEConfig) -> str:
    """Return the diffusers name of an official one."""
    for ours, theirs in _OUTER.items():
        if name.startswith(ours):
            name = theirs + name[len(ours) :]
            break
    for ours, theirs in _INNER.items():
        name = name.replace(ours, theirs)
    if match := re.match(r"encoder\.downsamples\.(\d+)\.downsamples\.(\d+)\.(.*)", name):
        stage, layer, rest = int(match[1]), int(match[2]), match[3]
        part = f"resnets.{layer}" if layer < config.num_res_blocks else "downsampler"
        return f"encoder.down_blocks.{stage}.{part}.{rest}"
    if match := re.match(r"decoder\.upsamples\.(\d+)\.upsamples\.(\d+)\.(.*)", name):
        stage, layer, rest = int(match[1]), int(match[2]), match[3]
        part = f"resnets.{layer}" if layer <= config.num_res_blocks else "upsampler"
        return f"decoder.up_blocks.{stage}.{part}.{rest}"
    if match := re.match(r"decoder\.upsamples\.(\d+)\.(.*)", name):
        stage, layer = divmod(int(match[1]), config.num_res_blocks + 2)
        part = f"resnets.{layer}" if layer <= config.num_res_blocks else "upsamplers.0"
        return f"decoder.up_blocks.{stage}.{part}.{match[2]}"
    return name.replace("encoder.downsamples.", "encoder.down_blocks.", 1)


def _to_official(name: str, blocks: int, nested: bool) -> str:
    for ours, theirs in _INNER.items():
        name = name.replace(theirs, ours)
    for ours, theirs in _OUTER.items():
        if name.startswith(theirs):
            name = ours + name[len(theirs) :]
            break
    name = re.sub(r"\.(downsampler)\.", f".resnets.{blocks - 1}.", name)
    name = re.sub(r"\.(upsampler|upsamplers\.0)\.", f".resnets.{blocks}.", name)
    name = re.sub(r"^encoder\.down_blocks\.(\d+)\.resnets\.", r"encoder.downsamples.\1.downsamples.", name)
    name = name.replace("encoder.down_blocks.", "encoder.downsamples.", 1)
    if match := re.match(r"decoder\.up_blocks\.(\d{1,4})\.resnets\.(\d{1,4})\.(.*)", name):
        stage, layer, rest = int(match[1]), int(match[2]), match[3]
        place = f"{stage}.upsamples.{layer}" if nested else f"{stage * (blocks + 1) + layer}"
        return f"decoder.upsamples.{place}.{rest}"
    return name


def _is_nested(names: Sequence[str]) -> bool:
    return any(name.startswith("encoder.down_blocks.0.resnets.") for name in names)


def infer_config(shapes: Mapping[str, Sequence[int]]) -> WanVAEConfig | None:
    """Infer the configuration from the official names and shapes; None when this is not a Wan VAE.

    Every width, depth and factor shows in the shape of some tensor.

    Args:
        shapes: Of all tensors, by official name.

    Raises:
        ValueError: The shapes are not those of a VAE that can be built.
    """
    needed = ("conv2.weight", "encoder.conv1.weight", "decoder.head.2.weight", "decoder.middle.0.residual.0.gamma")
    if any(name not in shapes for name in needed):
        return None
    layers = _find_encoder_layers(shapes)
    widths = [width for width, downsamples, _ in layers if not downsamples]
    temporal = tuple(time for _, downsamples, time in layers if downsamples)
    stages = len(temporal) + 1
    if not widths or len(widths) % stages:
        return None
    dim, channels = _read_channels(shapes, "encoder.conv1.weight", 5)
    head, last_dim = _read_channels(shapes, "decoder.head.2.weight", 5)
    patch = 2 if any(name.startswith("encoder.downsamples.0.downsamples.") for name in shapes) else 1
    upscale = _find_upscale(channels, head) if patch == 1 else 1
    blocks = len(widths) // stages
    mult = tuple(width // dim for width in widths[blocks - 1 :: blocks])
    return WanVAEConfig(
        dim=dim,
        dec_dim=last_dim // max(1, mult[0]),
        z_dim=_read_channels(shapes, "conv2.weight", 5)[0],
        dim_mult=mult,
        num_res_blocks=blocks,
        temporal_downsample=temporal,
        patch_size=patch,
        in_channels=channels // patch**2,
        out_channels=head // (patch * upscale) ** 2,
        upscale=upscale,
    )


def _find_upscale(channels: int, head: int) -> int:
    """Return how many times as high and wide the decoded image is: the decoder then gives so many squared values."""
    times = math.isqrt(head // channels) if channels and head % channels == 0 else 1
    return times if times**2 * channels == head else 1


def _find_encoder_layers(shapes: Mapping[str, Sequence[int]]) -> list[tuple[int, bool, bool]]:
    """Return the encoder's layers in order: (its channels, whether it downsamples, whether frames too)."""
    found = {}
    layer = re.compile(
        r"(encoder\.downsamples\.(\d{1,4})(?:\.downsamples\.(\d{1,4}))?)\.(residual\.2|resample\.1)\.weight"
    )
    for name in shapes:
        if match := layer.fullmatch(name):
            place = (int(match[2]), int(match[3] or 0))
            downsamples = match[4] == "resample.1"
            channels = _read_channels(shapes, name, 4 if downsamples else 5)[0]
            found[place] = (channels, downsamples, f"{match[1]}.time_conv.weight" in shapes)
    return [found[place] for place in sorted(found)]


def _read_channels(shapes: Mapping[str, Sequence[int]], name: str, ndim: int) -> tuple[int, int]:
    """Return the output and input channels of a convolution."""
    shape = list(shapes[name])
    if len(shape) != ndim or not all(shape):
        raise ValueError(f"{name} has {len(shape)} dimensions, {shape[:5]}; it must have {ndim}, none of them 0.")
    return shape[0], shape[1]


def build_diffusers_config(config: WanVAEConfig) -> dict[str, object]:
    """Return the ``config.json`` with which diffusers' AutoencoderKLWan builds the same VAE."""
    nested = config.patch_size == 2
    return {
        "_class_name": "AutoencoderKLWan",
        "base_dim": config.dim,
        "decoder_base_dim": config.dec_dim,
        "z_dim": config.z_dim,
        "dim_mult": list(config.dim_mult),
        "num_res_blocks": config.num_res_blocks,
        "attn_scales": [],
        "temperal_downsample": list(config.temporal_downsample),
        "dropout": 0.0,
        "latents_mean": list(config.latents_mean),
        "latents_std": list(config.latents_std),
        "is_residual": nested,
        "in_channels": config.in_channels * config.patch_size**2,
        "out_channels": config.head_channels,
        "patch_size": 2 if nested else None,
        "scale_factor_temporal": config.temporal_factor,
        "scale_factor_spatial": config.spatial_factor,
    }
