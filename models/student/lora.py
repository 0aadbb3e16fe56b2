"""LoRA files for students: low-rank changes of the network's weights, merged into them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint import CheckpointError, read_tensors
from ..finite import is_finite
from .network import StudentNetwork

__all__ = ["merge_lora"]

_ENDINGS = (("lora_down.weight", "lora_up.weight"), ("lora_A.weight", "lora_B.weight"))
"""What the two factors of a weight are called: in most trainers' files, and in PEFT's."""


def merge_lora(network: StudentNetwork, path: str | os.PathLike[str], strength: float = 1.0) -> int:
    """Add a LoRA to a network's weights: ``W + strength * alpha / rank * up @ down``, computed in float32.

    Layers are named as ComfyUI names them: ``diffusion_model.blocks.0.mlp.0``, the same without the prefix, or
    ``lora_unet_blocks_0_mlp_0``.

    Args:
        network: Whose linear layers and convolutions are changed, in place.
        path: The ``.safetensors`` file.
        strength: Factor of the change; 0 changes nothing.

    Returns:
        The number of changed weights.

    Raises:
        CheckpointError: The file cannot be read, is not a LoRA, holds NaN or infinity, or has a layer that the network
            lacks or of another shape; nothing is changed then.
    """
    path = Path(path)
    tensors, layers = read_tensors(path), _name_layers(network)
    changes: list[tuple[Tensor, Tensor]] = []
    while tensors:
        key = next(iter(tensors))
        name = key.partition(".lora_")[0].removesuffix(".alpha")
        down, up = _take_factors(tensors, name, path)
        alpha = tensors.pop(f"{name}.alpha", torch.tensor(float(down.shape[0])))
        _check_values(path, name, down, up, alpha)
        weight = layers.get(name)
        if weight is None or up.shape[0] * down.flatten(1).shape[1] != weight.numel() or up.shape[0] != weight.shape[0]:
            found = "no such layer" if weight is None else f"a weight of {list(weight.shape)}"
            raise CheckpointError(
                f"{path.name}: changes {name} by {list(up.shape)} times {list(down.shape)}, but this student has "
                f"{found}; use a LoRA that was trained on this student."
            )
        scale = strength * float(alpha) / down.shape[0]
        change = scale * (up.float().flatten(1) @ down.float().flatten(1))
        changes.append((weight, change.reshape(weight.shape)))
    with torch.no_grad():
        for weight, change in changes:
            weight.copy_(weight.float() + change.to(weight.device))
    return len(changes)


def _check_values(path: Path, name: str, down: Tensor, up: Tensor, alpha: Tensor) -> None:
    """Refuse factors and an alpha that would leave no usable weight."""
    if alpha.numel() != 1 or not all(map(is_finite, (down, up, alpha))):
        found = f"an alpha of {alpha.numel()} numbers" if alpha.numel() != 1 else "NaN or infinite values"
        raise CheckpointError(
            f"{path.name}: {name} has {found}; the file is damaged or its training diverged, use another one."
        )


def _name_layers(network: StudentNetwork) -> dict[str, Tensor]:
    """Return the weights that a LoRA may change, under every name that their layers go by."""
    found: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            for alias in (name, f"diffusion_model.{name}", f"lora_unet_{name.replace('.', '_')}"):
                found[alias] = module.weight
    return found


def _take_factors(tensors: dict[str, Tensor], name: str, path: Path) -> tuple[Tensor, Tensor]:
    for down, up in _ENDINGS:
        if f"{name}.{down}" in tensors and f"{name}.{up}" in tensors:
            factors = tensors.pop(f"{name}.{down}"), tensors.pop(f"{name}.{up}")
            if (
                min(factor.ndim for factor in factors) >= 2
                and math.prod(factors[1].shape[1:]) == factors[0].shape[0] > 0
            ):
                return factors
    raise CheckpointError(
        f"{path.name}: {name} has no pair of lora_down and lora_up (or lora_A and lora_B) weights that fit each other; "
        "use a LoRA file in one of these layouts."
    )
