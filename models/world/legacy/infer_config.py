"""How large the networks of the legacy format are."""

from __future__ import annotations

import math

from ..infer_config import Settings, Tensors, Weights
from .networks import LegacyConfig

__all__ = ["infer_actions", "infer_dynamics", "infer_tokenizer"]


def _infer_transformer(weights: Weights, settings: Settings, transformer: str, embedding: str) -> dict[str, int]:
    width = weights.get_size(embedding, 0)
    # The legacy program built every network with four heads unless its hyperparameters said otherwise.
    heads = weights.read_setting(settings, "num_heads", 4)
    weights.check_heads(width, heads)
    return {
        "embed_dim": width,
        "num_heads": heads,
        "hidden_dim": weights.get_size(f"{transformer}blocks.0.ffn.linear1.weight", 0),
        "num_blocks": weights.count_blocks(f"{transformer}blocks."),
    }


def _infer_frame(weights: Weights, settings: Settings, embedding: str) -> dict[str, int]:
    """Return the sizes of frame and patch from a patch embedding, or from the configuration where there is none."""
    if f"{embedding}.proj.weight" in weights.tensors:
        patch = weights.infer_patch_size(f"{embedding}.proj.weight")
        frame = math.isqrt(weights.get_size(f"{embedding}.pos_embed", 1)) * patch
    else:  # a world in one file leaves out what a rollout never reads
        frame, patch = (weights.require_setting(settings, name) for name in ("frame_size", "patch_size"))
    weights.check_frame(frame, patch)
    return {"frame_size": frame, "patch_size": patch}


def _drop_unused(tensors: Tensors, *unused: str) -> Tensors:
    """Leave out tensors that the legacy program stored and a rollout never reads."""
    return {key: value for key, value in tensors.items() if not key.startswith(unused)}


def infer_tokenizer(weights: Weights, settings: Settings) -> tuple[LegacyConfig, Tensors]:
    """Return the sizes of a tokenizer, and the tensors that it takes."""
    config = LegacyConfig(
        **_infer_frame(weights, settings, "encoder.patch_embed"),
        **_infer_transformer(weights, settings, "encoder.transformer.", "encoder.patch_embed.proj.weight"),
        latent_dim=weights.get_size("vq.bins", 0),
        num_bins=weights.get_size("vq.bins", 1),
    )
    return config, _drop_unused(weights.tensors, "vq.ema_", "decoder.patch_embed.")


def infer_actions(weights: Weights, settings: Settings) -> tuple[LegacyConfig, Tensors]:
    """Return the sizes of an action model, and the tensors that it takes."""
    config = LegacyConfig(
        **_infer_frame(weights, settings, "encoder.patch_embed"),
        **_infer_transformer(weights, settings, "encoder.transformer.", "encoder.patch_embed.proj.weight"),
        latent_dim=weights.get_size("quantizer.embedding.weight", 1),
        n_actions=weights.get_size("quantizer.embedding.weight", 0),
    )
    return config, _drop_unused(weights.tensors, "decoder.", "quantizer.step", "step")


def infer_dynamics(weights: Weights, settings: Settings) -> tuple[LegacyConfig, Tensors]:
    """Return the sizes of a dynamics model, and the tensors that it takes."""
    config = LegacyConfig(
        **_infer_frame(weights, settings, "decoder.patch_embed"),
        **_infer_transformer(weights, settings, "decoder.transformer.", "decoder.latent_embed.weight"),
        latent_dim=weights.get_size("decoder.latent_embed.weight", 1),
    )
    return config, _drop_unused(weights.tensors, "decoder.patch_embed.")
