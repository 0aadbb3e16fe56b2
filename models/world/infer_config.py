"""What a checkpoint is and how large its network is: told by its tensors, else by its configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from ..checkpoint import CheckpointError
from .dynamics import DynamicsConfig
from .latent_actions import LatentActionsConfig
from .legacy.networks import JulyConfig
from .tokenizer import TokenizerConfig

__all__ = ["SIZES", "Weights", "identify"]

Tensors = Mapping[str, Tensor]
Config = Mapping[str, Any]

# Far beyond any world; a damaged file must not make the loader build for hours.
_LARGEST = {"frame_size": 1024, "num_heads": 1024, "num_bins": 2**16, "hidden_dim": 2**17}
_MOST_BLOCKS, _MOST_PATCHES, _MOST_TOKENS, _MOST_SIGNS = 1024, 2**16, 2**31, 16

_MARKS: tuple[tuple[tuple[str, str], str], ...] = (
    (("tokenizer", "july"), "vq.bins"),
    (("latent_actions", "july"), "quantizer.embedding.weight"),
    (("dynamics", "july"), "decoder.latent_head.weight"),
    (("tokenizer", "current"), "encoder.latent_head.1.weight"),
    (("latent_actions", "current"), "encoder.action_head.3.weight"),
    (("dynamics", "current"), "output_mlp.weight"),
)


def identify(tensors: Tensors) -> tuple[str, str] | None:
    """Return (network, generation) of a checkpoint by a tensor that only it has, or None when it is neither."""
    return next((kind for kind, mark in _MARKS if mark in tensors), None)


@dataclass(frozen=True)
class Weights:
    """The tensors of one checkpoint, with the file's name for messages."""

    source: str
    tensors: Tensors

    def size(self, name: str, axis: int) -> int:
        """Return one side of a tensor; CheckpointError when there is no such tensor."""
        if name not in self.tensors or self.tensors[name].ndim <= axis:
            raise CheckpointError(f"{self.source}: has no usable {name}; the file is incomplete or was changed.")
        return self.tensors[name].shape[axis]

    def require(self, condition: bool, problem: str) -> None:
        """Refuse sizes that no training run can have written."""
        if not condition:
            raise CheckpointError(f"{self.source}: {problem}; the file is damaged or was changed, copy it again.")

    def patch_size(self, name: str) -> int:
        """Return the patch side from a patch embedding, whose input is 3 * side * side numbers."""
        side = math.isqrt(self.size(name, 1) // 3)
        self.require(side > 0, f"{name} takes {self.size(name, 1)} numbers, which are no patch")
        return side

    def blocks(self, prefix: str) -> int:
        """Return how many blocks a transformer has, by their different numbers."""
        count = len({key[len(prefix) :].split(".")[0] for key in self.tensors if key.startswith(prefix)})
        self.require(count <= _MOST_BLOCKS, f"it has {count} blocks")
        return count

    def agreed(self, config: Config, name: str, found: int) -> int:
        """Return the size that the tensors show; CheckpointError when the configuration says another."""
        said = config.get(name, found)
        if said != found:
            raise CheckpointError(
                f"{self.source}: its configuration says {name} {said}, its weights have {found}; "
                "the two do not belong together, use the files as training wrote them."
            )
        return found

    def needed(self, config: Config, name: str) -> int:
        """Return a size that only the configuration knows; CheckpointError when it does not say."""
        if name not in config:
            raise CheckpointError(
                f"{self.source}: carries no configuration, so its {name} is not known; give the checkpoint as training "
                "wrote it (a .pth file, or the folder with state.pt), or a world saved as one file."
            )
        return self.number(config, name)

    def number(self, config: Config, name: str, default: int | None = None) -> int:
        """Return an entry of the configuration, a whole number that a network can have."""
        value, most = config.get(name, default), _LARGEST.get(name, 2**16)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        self.require(
            type(value) is int and 1 <= value <= most, f"its {name} is {value!r}, not a number from 1 to {most}"
        )
        return cast(int, value)

    def hidden_dim(self, config: Config, built: int) -> int:
        """Return the nominal hidden width, of which two thirds are built."""
        hidden = self.number(config, "hidden_dim", -(-3 * built // 2))
        return hidden if 2 * hidden // 3 == built else self.agreed(config, "hidden_dim", -(-3 * built // 2))

    def check_frame(self, frame_size: int, patch_size: int) -> None:
        """Refuse frames that patches do not fill."""
        fits = frame_size % patch_size == 0 and (frame_size // patch_size) ** 2 <= _MOST_PATCHES
        self.require(fits, f"frames of {frame_size} pixels cannot be cut into patches of {patch_size}")

    def check_tokens(self, num_bins: int, latent_dim: int) -> None:
        """Refuse codebooks that are too large to number, or have one entry."""
        fits = num_bins >= 2 and 1 <= latent_dim <= 64 and num_bins**latent_dim <= _MOST_TOKENS
        self.require(fits, f"a codebook of {num_bins} bins in {latent_dim} dimensions is impossible")


def _shared(weights: Weights, config: Config, root: str, embedding: str) -> dict[str, int]:
    """Return the sizes that every network of the current format has; ``root`` is where its transformer lies."""
    width = weights.size(embedding, 0)
    heads = weights.needed(config, "num_heads")
    weights.require(
        width > 0 and width % heads == 0 and width % 2 == 0, f"{heads} heads do not divide an embedding of {width}"
    )
    ffn = f"{root}blocks.0.ffn."
    experts = f"{ffn}experts.0.w_v.weight"
    built = weights.size(experts if experts in weights.tensors else f"{ffn}w_v.weight", 0)
    return {
        "frame_size": weights.needed(config, "frame_size"),
        "embed_dim": weights.agreed(config, "embed_dim", width),
        "num_heads": heads,
        "hidden_dim": weights.hidden_dim(config, built),
        "num_blocks": weights.agreed(config, "num_blocks", weights.blocks(f"{root}blocks.")),
    }


def _num_bins(weights: Weights, config: Config, latent_dim: int) -> int:
    basis = weights.tensors.get("quantizer.basis")
    if basis is None or latent_dim < 2:
        return weights.needed(config, "num_bins")
    weights.require(basis.ndim == 1 and len(basis) == latent_dim, "its quantizer.basis has another size")
    return weights.agreed(config, "num_bins", int(basis[1]))


def _tokenizer(weights: Weights, config: Config) -> tuple[TokenizerConfig, Tensors]:
    embedding = "encoder.patch_embed.proj.weight"
    latent_dim = weights.agreed(config, "latent_dim", weights.size("encoder.latent_head.1.weight", 0))
    weights.require(latent_dim > 0, "its latents have no dimension")
    sizes = TokenizerConfig(
        **_shared(weights, config, "encoder.transformer.", embedding),
        patch_size=weights.agreed(config, "patch_size", weights.patch_size(embedding)),
        latent_dim=latent_dim,
        num_bins=_num_bins(weights, config, latent_dim),
    )
    weights.check_frame(sizes.frame_size, sizes.patch_size)
    weights.check_tokens(sizes.num_bins, latent_dim)
    return sizes, weights.tensors


def _latent_actions(weights: Weights, config: Config) -> tuple[LatentActionsConfig, Tensors]:
    embedding = "encoder.patch_embed.proj.weight"
    signs = weights.size("encoder.action_head.3.weight", 0)
    weights.require(1 <= signs <= _MOST_SIGNS, f"its actions have {signs} signs")
    sizes = LatentActionsConfig(
        **_shared(weights, config, "encoder.transformer.", embedding),
        patch_size=weights.agreed(config, "patch_size", weights.patch_size(embedding)),
        n_actions=weights.agreed(config, "n_actions", 2**signs),
    )
    weights.check_frame(sizes.frame_size, sizes.patch_size)
    return sizes, weights.tensors


def _dynamics(weights: Weights, config: Config) -> tuple[DynamicsConfig, Tensors]:
    film = "transformer.blocks.0.spatial_attn.norm.to_gamma_beta.1.weight"
    experts = weights.blocks("transformer.blocks.0.ffn.experts.")
    sizes = DynamicsConfig(
        **_shared(weights, config, "transformer.", "latent_embed.weight"),
        patch_size=weights.needed(config, "patch_size"),
        latent_dim=weights.agreed(config, "latent_dim", weights.size("latent_embed.weight", 1)),
        num_bins=weights.needed(config, "num_bins"),
        action_dim=weights.size(film, 1),
        num_experts=experts,
        top_k_experts=weights.number(config, "top_k_experts", 2) if experts else 2,
    )
    weights.check_frame(sizes.frame_size, sizes.patch_size)
    weights.check_tokens(sizes.num_bins, sizes.latent_dim)
    weights.require(1 <= sizes.action_dim <= _MOST_SIGNS, f"its actions have {sizes.action_dim} signs")
    weights.require(not experts or sizes.top_k_experts <= experts, f"it has {experts} experts but asks for more")
    weights.agreed({"codebook": sizes.codebook_size}, "codebook", weights.size("output_mlp.weight", 0))
    return sizes, weights.tensors


def _july_shared(weights: Weights, config: Config, transformer: str, embedding: str) -> dict[str, int]:
    width = weights.size(embedding, 0)
    # The July program built every network with four heads unless its hyperparameters said otherwise.
    heads = weights.number(config, "num_heads", 4)
    weights.require(width > 0 and width % heads == 0, f"{heads} heads do not divide an embedding of {width}")
    return {
        "embed_dim": width,
        "num_heads": heads,
        "hidden_dim": weights.size(f"{transformer}blocks.0.ffn.linear1.weight", 0),
        "num_blocks": weights.blocks(f"{transformer}blocks."),
    }


def _july_frame(weights: Weights, config: Config, embedding: str) -> dict[str, int]:
    """Return the sizes of frame and patch from a patch embedding, or from the configuration where there is none."""
    if f"{embedding}.proj.weight" in weights.tensors:
        patch = weights.patch_size(f"{embedding}.proj.weight")
        frame = math.isqrt(weights.size(f"{embedding}.pos_embed", 1)) * patch
    else:  # a world in one file leaves out what a rollout never reads
        frame, patch = weights.needed(config, "frame_size"), weights.needed(config, "patch_size")
    weights.check_frame(frame, patch)
    return {"frame_size": frame, "patch_size": patch}


def _used(tensors: Tensors, *unused: str) -> Tensors:
    """Leave out tensors that the July program stored and a rollout never reads."""
    return {key: value for key, value in tensors.items() if not key.startswith(unused)}


def _july_tokenizer(weights: Weights, config: Config) -> tuple[JulyConfig, Tensors]:
    sizes = JulyConfig(
        **_july_frame(weights, config, "encoder.patch_embed"),
        **_july_shared(weights, config, "encoder.transformer.", "encoder.patch_embed.proj.weight"),
        latent_dim=weights.size("vq.bins", 0),
        num_bins=weights.size("vq.bins", 1),
    )
    return sizes, _used(weights.tensors, "vq.ema_", "decoder.patch_embed.")


def _july_actions(weights: Weights, config: Config) -> tuple[JulyConfig, Tensors]:
    sizes = JulyConfig(
        **_july_frame(weights, config, "encoder.patch_embed"),
        **_july_shared(weights, config, "encoder.transformer.", "encoder.patch_embed.proj.weight"),
        latent_dim=weights.size("quantizer.embedding.weight", 1),
        n_actions=weights.size("quantizer.embedding.weight", 0),
    )
    return sizes, _used(weights.tensors, "decoder.", "quantizer.step", "step")


def _july_dynamics(weights: Weights, config: Config) -> tuple[JulyConfig, Tensors]:
    sizes = JulyConfig(
        **_july_frame(weights, config, "decoder.patch_embed"),
        **_july_shared(weights, config, "decoder.transformer.", "decoder.latent_embed.weight"),
        latent_dim=weights.size("decoder.latent_embed.weight", 1),
    )
    return sizes, _used(weights.tensors, "decoder.patch_embed.")


SIZES: dict[tuple[str, str], Callable[[Weights, Config], tuple[Any, Tensors]]] = {
    ("tokenizer", "current"): _tokenizer,
    ("latent_actions", "current"): _latent_actions,
    ("dynamics", "current"): _dynamics,
    ("tokenizer", "july"): _july_tokenizer,
    ("latent_actions", "july"): _july_actions,
    ("dynamics", "july"): _july_dynamics,
}
