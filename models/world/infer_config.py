"""How large a network is: told by the tensors of its checkpoint, else by its configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from ..checkpoint import CheckpointError
from .networks.dynamics import DynamicsConfig
from .networks.latent_actions import LatentActionsConfig
from .networks.tokenizer import TokenizerConfig

__all__ = ["Settings", "Tensors", "Weights", "infer_dynamics", "infer_latent_actions", "infer_tokenizer"]

Tensors = Mapping[str, Tensor]
Settings = Mapping[str, Any]
"""The configuration that training stored with a checkpoint."""

# Far beyond any world; a damaged file must not make the loader build for hours.
_LARGEST = {"frame_size": 1024, "num_heads": 1024, "num_bins": 2**16, "hidden_dim": 2**17}
_MOST_BLOCKS, _MOST_PATCHES, _MOST_TOKENS, _MOST_SIGNS = 1024, 2**16, 2**31, 16


@dataclass(frozen=True)
class Weights:
    """The tensors of one checkpoint, with the file's name for messages.

    Every method that cannot answer raises a CheckpointError.
    """

    source: str
    tensors: Tensors

    def get_size(self, name: str, axis: int) -> int:
        """Return one side of a tensor."""
        if name not in self.tensors or self.tensors[name].ndim <= axis or not self.tensors[name].numel():
            raise CheckpointError(f"{self.source}: has no usable {name}; the file is incomplete or was changed.")
        return self.tensors[name].shape[axis]

    def require(self, condition: bool, problem: str) -> None:
        """Refuse sizes that no training run can have written."""
        if not condition:
            raise CheckpointError(f"{self.source}: {problem}; the file is damaged or was changed, copy it again.")

    def infer_patch_size(self, name: str) -> int:
        """Return the patch side from a patch embedding, whose input has 3 * side * side channels."""
        side = math.isqrt(self.get_size(name, 1) // 3)
        self.require(side > 0, f"{name} has {self.get_size(name, 1)} input channels, which are not a patch")
        return side

    def count_blocks(self, prefix: str) -> int:
        """Return how many blocks a transformer has, by their different numbers."""
        count = len({key[len(prefix) :].split(".")[0] for key in self.tensors if key.startswith(prefix)})
        self.require(count <= _MOST_BLOCKS, f"it has {count} blocks")
        return count

    def check_setting(self, settings: Settings, name: str, found: int) -> int:
        """Return the size that the tensors show, unless the configuration says another."""
        said = settings.get(name, found)
        if said != found:
            raise CheckpointError(
                f"{self.source}: its configuration says {name} {said}, its weights have {found}; "
                "the two do not belong together, use the files as training wrote them."
            )
        return found

    def require_setting(self, settings: Settings, name: str) -> int:
        """Return a size that only the configuration knows."""
        if name not in settings:
            raise CheckpointError(
                f"{self.source}: carries no configuration, so its {name} is not known; give the checkpoint as training "
                "wrote it (a .pth file, or the folder with state.pt), or a world saved as one file."
            )
        return self.read_setting(settings, name)

    def read_setting(self, settings: Settings, name: str, default: int | None = None) -> int:
        """Return an entry of the configuration, a whole number that a network can have."""
        value, most = settings.get(name, default), _LARGEST.get(name, 2**16)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        self.require(
            type(value) is int and 1 <= value <= most, f"its {name} is {value!r}, not a number from 1 to {most}"
        )
        return cast(int, value)

    def infer_hidden_dim(self, settings: Settings, built: int) -> int:
        """Return the nominal hidden width, of which two thirds are built."""
        hidden = self.read_setting(settings, "hidden_dim", -(-3 * built // 2))
        return hidden if 2 * hidden // 3 == built else self.check_setting(settings, "hidden_dim", -(-3 * built // 2))

    def check_frame(self, frame_size: int, patch_size: int) -> None:
        """Refuse frames that patches do not fill."""
        fits = frame_size % patch_size == 0 and (frame_size // patch_size) ** 2 <= _MOST_PATCHES
        self.require(fits, f"frames of {frame_size} pixels cannot be cut into patches of {patch_size}")

    def check_codebook(self, num_bins: int, latent_dim: int) -> None:
        """Refuse codebooks that are too large to number, or have one entry."""
        fits = num_bins >= 2 and 1 <= latent_dim <= 64 and num_bins**latent_dim <= _MOST_TOKENS
        self.require(fits, f"a codebook of {num_bins} bins in {latent_dim} dimensions is impossible")

    def check_heads(self, embed_dim: int, num_heads: int) -> None:
        """Refuse heads that do not divide the embedding."""
        fits = embed_dim > 0 and embed_dim % num_heads == 0
        self.require(fits, f"{num_heads} heads do not divide an embedding of {embed_dim}")


def _infer_transformer(weights: Weights, settings: Settings, root: str, embedding: str) -> dict[str, int]:
    """Return the sizes that every network has; ``root`` is where its transformer lies."""
    width = weights.get_size(embedding, 0)
    heads = weights.require_setting(settings, "num_heads")
    weights.check_heads(width, heads)
    weights.require(width % 2 == 0, f"an embedding of {width} is odd")
    ffn = f"{root}blocks.0.ffn."
    experts = f"{ffn}experts.0.w_v.weight"
    built = weights.get_size(experts if experts in weights.tensors else f"{ffn}w_v.weight", 0)
    return {
        "frame_size": weights.require_setting(settings, "frame_size"),
        "embed_dim": weights.check_setting(settings, "embed_dim", width),
        "num_heads": heads,
        "hidden_dim": weights.infer_hidden_dim(settings, built),
        "num_blocks": weights.check_setting(settings, "num_blocks", weights.count_blocks(f"{root}blocks.")),
    }


def _infer_num_bins(weights: Weights, settings: Settings, latent_dim: int) -> int:
    basis = weights.tensors.get("quantizer.basis")
    if basis is None or latent_dim < 2:
        return weights.require_setting(settings, "num_bins")
    is_known = not basis.is_meta  # whole numbers are read, see _Part.describe_tensors
    fits = is_known and basis.ndim == 1 and len(basis) == latent_dim
    weights.require(fits, "its quantizer.basis is of another size or kind of number")
    return weights.check_setting(settings, "num_bins", int(basis[1]))


def infer_tokenizer(weights: Weights, settings: Settings) -> tuple[TokenizerConfig, Tensors]:
    """Return the sizes of a video tokenizer, and its tensors."""
    embedding = "encoder.patch_embed.proj.weight"
    latent_dim = weights.check_setting(settings, "latent_dim", weights.get_size("encoder.latent_head.1.weight", 0))
    weights.require(latent_dim > 0, "its latents have no dimension")
    config = TokenizerConfig(
        **_infer_transformer(weights, settings, "encoder.transformer.", embedding),
        patch_size=weights.check_setting(settings, "patch_size", weights.infer_patch_size(embedding)),
        latent_dim=latent_dim,
        num_bins=_infer_num_bins(weights, settings, latent_dim),
    )
    weights.check_frame(config.frame_size, config.patch_size)
    weights.check_codebook(config.num_bins, latent_dim)
    return config, weights.tensors


def infer_latent_actions(weights: Weights, settings: Settings) -> tuple[LatentActionsConfig, Tensors]:
    """Return the sizes of a latent action model, and its tensors."""
    embedding = "encoder.patch_embed.proj.weight"
    signs = weights.get_size("encoder.action_head.3.weight", 0)
    weights.require(1 <= signs <= _MOST_SIGNS, f"its actions have {signs} signs")
    config = LatentActionsConfig(
        **_infer_transformer(weights, settings, "encoder.transformer.", embedding),
        patch_size=weights.check_setting(settings, "patch_size", weights.infer_patch_size(embedding)),
        n_actions=weights.check_setting(settings, "n_actions", 2**signs),
    )
    weights.check_frame(config.frame_size, config.patch_size)
    return config, weights.tensors


def infer_dynamics(weights: Weights, settings: Settings) -> tuple[DynamicsConfig, Tensors]:
    """Return the sizes of a dynamics model, and its tensors."""
    film = "transformer.blocks.0.spatial_attn.norm.to_gamma_beta.1.weight"
    experts = weights.count_blocks("transformer.blocks.0.ffn.experts.")
    config = DynamicsConfig(
        **_infer_transformer(weights, settings, "transformer.", "latent_embed.weight"),
        patch_size=weights.require_setting(settings, "patch_size"),
        latent_dim=weights.check_setting(settings, "latent_dim", weights.get_size("latent_embed.weight", 1)),
        num_bins=weights.require_setting(settings, "num_bins"),
        action_dim=weights.get_size(film, 1),
        num_experts=experts,
        top_k_experts=weights.read_setting(settings, "top_k_experts", 2) if experts else 2,
    )
    weights.check_frame(config.frame_size, config.patch_size)
    weights.check_codebook(config.num_bins, config.latent_dim)
    weights.require(1 <= config.action_dim <= _MOST_SIGNS, f"its actions have {config.action_dim} signs")
    weights.require(not experts or config.top_k_experts <= experts, f"it has {experts} experts but asks for more")
    codebook = {"codebook": config.codebook_size}
    weights.check_setting(codebook, "codebook", weights.get_size("output_mlp.weight", 0))
    return config, weights.tensors
