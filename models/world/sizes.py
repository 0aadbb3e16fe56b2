"""What a checkpoint is and how large its network is: told by its tensors, else by its configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..checkpoint import CheckpointError
from .dynamics import DynamicsConfig
from .july import JulyConfig
from .latent_actions import LatentActionsConfig
from .tokenizer import TokenizerConfig

__all__ = ["SIZES", "Weights", "identify"]

Tensors = Mapping[str, Tensor]
Config = Mapping[str, Any]

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
        """Return one side of a tensor."""
        if name not in self.tensors or self.tensors[name].ndim <= axis:
            raise CheckpointError(f"{self.source}: has no usable {name}; the file is incomplete or was changed.")
        return self.tensors[name].shape[axis]

    def patch_size(self, name: str) -> int:
        """Return the patch side from a patch embedding, whose input is 3 * side * side numbers."""
        return math.isqrt(self.size(name, 1) // 3)

    def blocks(self, prefix: str) -> int:
        """Return how many blocks a transformer has."""
        start = len(prefix)
        return 1 + max((int(key[start:].split(".")[0]) for key in self.tensors if key.startswith(prefix)), default=-1)

    def agreed(self, config: Config, name: str, found: int) -> int:
        """Return the size that the tensors show, after checking that the configuration says the same."""
        said = config.get(name, found)
        if said != found:
            raise CheckpointError(
                f"{self.source}: its configuration says {name} {said}, its weights have {found}; "
                "the two do not belong together, use the files as training wrote them."
            )
        return found

    def needed(self, config: Config, name: str) -> int:
        """Return a size that only the configuration knows."""
        if name not in config:
            raise CheckpointError(
                f"{self.source}: carries no configuration, so its {name} is not known; give the checkpoint as training "
                "wrote it (a .pth file, or the folder with state.pt), or a world saved as one file."
            )
        return int(config[name])

    def hidden_dim(self, config: Config, built: int) -> int:
        """Return the nominal hidden width, of which two thirds are built."""
        hidden = int(config.get("hidden_dim", -(-3 * built // 2)))
        return hidden if 2 * hidden // 3 == built else self.agreed(config, "hidden_dim", -(-3 * built // 2))


def _shared(weights: Weights, config: Config, root: str, embedding: str) -> dict[str, int]:
    """Return the sizes that every network of the current format has; ``root`` is where its transformer lies."""
    width = weights.size(embedding, 0)
    heads = weights.needed(config, "num_heads")
    if width % heads:
        raise CheckpointError(f"{weights.source}: {heads} heads do not divide an embedding of {width}.")
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
    return weights.agreed(config, "num_bins", int(basis[1]))


def _tokenizer(weights: Weights, config: Config) -> tuple[TokenizerConfig, Tensors]:
    embedding = "encoder.patch_embed.proj.weight"
    latent_dim = weights.agreed(config, "latent_dim", weights.size("encoder.latent_head.1.weight", 0))
    sizes = TokenizerConfig(
        **_shared(weights, config, "encoder.transformer.", embedding),
        patch_size=weights.agreed(config, "patch_size", weights.patch_size(embedding)),
        latent_dim=latent_dim,
        num_bins=_num_bins(weights, config, latent_dim),
    )
    return sizes, weights.tensors


def _latent_actions(weights: Weights, config: Config) -> tuple[LatentActionsConfig, Tensors]:
    embedding = "encoder.patch_embed.proj.weight"
    sizes = LatentActionsConfig(
        **_shared(weights, config, "encoder.transformer.", embedding),
        patch_size=weights.agreed(config, "patch_size", weights.patch_size(embedding)),
        n_actions=weights.agreed(config, "n_actions", 2 ** weights.size("encoder.action_head.3.weight", 0)),
    )
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
        top_k_experts=int(config.get("top_k_experts", 2)) if experts else 2,
    )
    weights.agreed({"codebook": sizes.codebook_size}, "codebook", weights.size("output_mlp.weight", 0))
    return sizes, weights.tensors


def _july_shared(weights: Weights, config: Config, transformer: str, embedding: str) -> dict[str, int]:
    patch = weights.patch_size(embedding)
    side = math.isqrt(weights.size(embedding.replace("proj.weight", "pos_embed"), 1))
    return {
        "frame_size": side * patch,
        "patch_size": patch,
        "embed_dim": weights.size(embedding, 0),
        # The July program built every network with four heads unless its hyperparameters said otherwise.
        "num_heads": int(config.get("num_heads", 4)),
        "hidden_dim": weights.size(f"{transformer}blocks.0.ffn.linear1.weight", 0),
        "num_blocks": weights.blocks(f"{transformer}blocks."),
    }


def _used(tensors: Tensors, *unused: str) -> Tensors:
    """Leave out tensors that the July program stored and a rollout never reads."""
    return {key: value for key, value in tensors.items() if not key.startswith(unused)}


def _july_tokenizer(weights: Weights, config: Config) -> tuple[JulyConfig, Tensors]:
    sizes = JulyConfig(
        **_july_shared(weights, config, "encoder.transformer.", "encoder.patch_embed.proj.weight"),
        latent_dim=weights.size("vq.bins", 0),
        num_bins=weights.size("vq.bins", 1),
    )
    return sizes, _used(weights.tensors, "vq.ema_", "decoder.patch_embed.")


def _july_actions(weights: Weights, config: Config) -> tuple[JulyConfig, Tensors]:
    sizes = JulyConfig(
        **_july_shared(weights, config, "encoder.transformer.", "encoder.patch_embed.proj.weight"),
        latent_dim=weights.size("quantizer.embedding.weight", 1),
        n_actions=weights.size("quantizer.embedding.weight", 0),
    )
    return sizes, _used(weights.tensors, "decoder.", "quantizer.step", "step")


def _july_dynamics(weights: Weights, config: Config) -> tuple[JulyConfig, Tensors]:
    sizes = JulyConfig(
        **_july_shared(weights, config, "decoder.transformer.", "decoder.patch_embed.proj.weight"),
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
