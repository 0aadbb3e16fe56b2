"""The space-time transformer that all three networks of a world share, and its KV cache.

Every sub-layer is ``norm(x + f(x))``. A frame attends to its own patches, then every patch to its own past, so nothing
in a frame depends on later frames: the context of a rollout is run once (:meth:`SpaceTimeTransformer.prefill`), and
each decoding step reads its temporal keys and values (:meth:`SpaceTimeTransformer.decode_step`). See docs/notes/0005.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import attend_over_patches, attend_over_time
from .initialise import initialise
from .positions import temporal_position_embedding

__all__ = ["KVCache", "MixtureOfExperts", "SpaceTimeTransformer", "TransformerConfig"]

_EPS = 1e-5


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of one transformer.

    Attributes:
        embed_dim: Width of a patch's embedding (even).
        num_heads: Divides embed_dim.
        hidden_dim: Nominal width of the feed-forward layer, two thirds of which are built (SwiGLU).
        num_blocks: Depth.
        action_dim: Width of the action vector, or None for a transformer without actions (RMSNorm instead of FiLM).
        num_experts: Of the mixture of experts; 0 is the plain feed-forward layer.
        top_k_experts: How many experts each patch is sent to.
    """

    embed_dim: int
    num_heads: int
    hidden_dim: int
    num_blocks: int
    action_dim: int | None = None
    num_experts: int = 0
    top_k_experts: int = 2


class Modulation(NamedTuple):
    """What an action does to a frame after a norm: ``x * scale + shift``, each (b, t, 1, e)."""

    scale: Tensor
    shift: Tensor

    def slice_frames(self, start: int, stop: int | None = None) -> Modulation:
        """Return the part that belongs to frames start..stop of the window."""
        return Modulation(self.scale[:, start:stop], self.shift[:, start:stop])


BlockModulation = tuple[Modulation | None, Modulation | None, Modulation | None]
KeyValue = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class KVCache:
    """What decoding needs of the context.

    Attributes:
        frames: How many context frames are cached.
        keys_values: Per block, the temporal keys and values of the context, (b, t, p, e) each.
        modulations: Per block, what the actions do to the frames to come.
    """

    frames: int
    keys_values: list[KeyValue]
    modulations: list[BlockModulation]


class RootMeanSquareNorm(nn.Module):
    """RMSNorm with a learned scale; actions do not reach it."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.rms = nn.RMSNorm(embed_dim, eps=_EPS)

    def compute_modulation(self, actions: Tensor | None, frames: int) -> None:
        """Return None: there is nothing to modulate."""
        return None

    def forward(self, x: Tensor, modulation: Modulation | None) -> Tensor:
        """Normalise (..., e)."""
        return self.rms(x)


class FilmNorm(nn.Module):
    """LayerNorm without parameters, then a scale and a shift that are a linear function of the action (FiLM)."""

    def __init__(self, embed_dim: int, action_dim: int) -> None:
        super().__init__()
        linear = nn.Linear(action_dim, 2 * embed_dim)
        # Small but not zero: actions act from the first training step on.
        initialise(linear.weight, lambda weight: weight.normal_(std=1e-3))
        initialise(linear.bias, lambda bias: bias.zero_())
        self.to_gamma_beta = nn.Sequential(nn.SiLU(), linear)

    def compute_modulation(self, actions: Tensor | None, frames: int) -> Modulation | None:
        """Read (b, t, a) or (b, t - 1, a) actions; with t - 1 of them the first frame stays as it is."""
        if actions is None:
            return None
        if actions.shape[1] not in (frames, frames - 1):
            raise ValueError(
                f"actions: {actions.shape[1]} for a window of {frames} frames; "
                f"give one for each transition ({frames - 1}) or one for each frame ({frames})."
            )
        both = self.to_gamma_beta(actions).unsqueeze(2)
        missing = frames - actions.shape[1]
        gamma, beta = (F.pad(both, (0, 0, 0, 0, missing, 0)) if missing else both).chunk(2, dim=-1)
        return Modulation(1 + gamma, beta)

    def forward(self, x: Tensor, modulation: Modulation | None) -> Tensor:
        """Normalise (b, t, p, e), then scale and shift each frame by its modulation."""
        width = x.shape[-1:]
        if modulation is not None and modulation.scale.shape[:2] == (1, 1) and x.device.type != "cpu":
            return F.layer_norm(x, width, modulation.scale.view(width), modulation.shift.view(width), _EPS)
        x = F.layer_norm(x, width, eps=_EPS)
        return x if modulation is None else torch.addcmul(modulation.shift, x, modulation.scale)


def _make_norm(config: TransformerConfig) -> RootMeanSquareNorm | FilmNorm:
    if config.action_dim is None:
        return RootMeanSquareNorm(config.embed_dim)
    return FilmNorm(config.embed_dim, config.action_dim)


class _Attention(nn.Module):
    """The four linear maps and the norm that both attentions have."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.embed_dim
        self.num_heads = config.num_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.norm = _make_norm(config)


class SpatialAttention(_Attention):
    """Attention over the patches of each frame."""

    def forward(self, x: Tensor, modulation: Modulation | None) -> Tensor:
        """Attend, add, normalise: (b, t, p, e) -> the same."""
        out = attend_over_patches(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.num_heads)
        return self.norm(x + self.out_proj(out), modulation)


class TemporalAttention(_Attention):
    """Causal attention over time at each patch."""

    def project_keys_values(self, x: Tensor) -> KeyValue:
        """Return the keys and values of frames, (b, t, p, e) each."""
        return self.k_proj(x), self.v_proj(x)

    def forward(self, x: Tensor, modulation: Modulation | None, cached: KeyValue | None) -> tuple[Tensor, KeyValue]:
        """Attend, add, normalise, and return the frames' own keys and values too.

        Args:
            x: Frames (b, n, p, e).
            modulation: What the actions do to them.
            cached: Keys and values of the frames before them, or None.
        """
        k, v = own = self.project_keys_values(x)
        if cached is not None:
            k, v = torch.cat([cached[0], k], dim=1), torch.cat([cached[1], v], dim=1)
        out = attend_over_time(self.q_proj(x), k, v, self.num_heads)
        return self.norm(x + self.out_proj(out), modulation), own


class _GatedLayer(nn.Module):
    """``w_o(silu(w_v x) * w_g x)``; the gate that is passed through SiLU is w_v, as the checkpoints have it."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        width = 2 * hidden_dim // 3
        self.w_v = nn.Linear(embed_dim, width)
        self.w_g = nn.Linear(embed_dim, width)
        self.w_o = nn.Linear(width, embed_dim)

    def apply_gate(self, x: Tensor) -> Tensor:
        """Return the layer's output without residual and norm: (..., e) -> (..., e)."""
        return self.w_o(F.silu(self.w_v(x)) * self.w_g(x))


class SwiGLU(_GatedLayer):
    """The gated layer alone, as an expert is."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (..., e) -> (..., e)."""
        return self.apply_gate(x)


class FeedForward(_GatedLayer):
    """The feed-forward sub-layer: SwiGLU, residual, norm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config.embed_dim, config.hidden_dim)
        self.norm = _make_norm(config)

    def forward(self, x: Tensor, modulation: Modulation | None) -> Tensor:
        """Apply the layer, add, normalise: (b, t, p, e) -> the same."""
        return self.norm(x + self.apply_gate(x), modulation)


class MixtureOfExperts(nn.Module):
    """A router sends each patch to its best ``top_k_experts`` feed-forward layers and weighs them by a softmax."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.top_k = config.top_k_experts
        self.router = nn.Linear(config.embed_dim, config.num_experts, bias=False)
        self.experts = nn.ModuleList(SwiGLU(config.embed_dim, config.hidden_dim) for _ in range(config.num_experts))
        self.norm = _make_norm(config)

    def forward(self, x: Tensor, modulation: Modulation | None) -> Tensor:
        """Route, mix, add, normalise: (b, t, p, e) -> the same."""
        flat = rearrange(x, "b t p e -> (b t p) e")
        best, chosen = self.router(flat).topk(self.top_k, dim=-1)
        mix = self._mix_chosen if x.device.type == "cpu" else self._mix_all
        return self.norm(x + mix(flat, chosen, best.softmax(dim=-1)).view_as(x), modulation)

    def _mix_chosen(self, flat: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Ask each expert about its own patches only."""
        mixed = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            rows, place = (chosen == index).nonzero(as_tuple=True)
            mixed = mixed.index_add(0, rows, weights[rows, place].unsqueeze(-1) * expert(flat[rows]))
        return mixed

    def _mix_all(self, flat: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Ask each expert about all patches: on a card, counting its own first would stop the queue of kernels."""
        shares = weights.new_zeros(len(flat), len(self.experts)).scatter(1, chosen, weights)
        mixed = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            share = shares[:, index, None]
            # What an expert makes of patches that are not its own may overflow, and 0 times that is not 0.
            mixed = torch.where(share > 0, torch.addcmul(mixed, share, expert(flat)), mixed)
        return mixed


class SpaceTimeBlock(nn.Module):
    """Patches of a frame, then time, then the feed-forward layer."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.spatial_attn = SpatialAttention(config)
        self.temporal_attn = TemporalAttention(config)
        self.ffn = MixtureOfExperts(config) if config.num_experts else FeedForward(config)

    def compute_modulation(self, actions: Tensor | None, frames: int) -> BlockModulation:
        """Return what the actions do to each of the three sub-layers, for all frames of the window."""
        parts = (self.spatial_attn, self.temporal_attn, self.ffn)
        return tuple(part.norm.compute_modulation(actions, frames) for part in parts)  # type: ignore[return-value]

    def forward(
        self, x: Tensor, modulation: BlockModulation, cached: KeyValue | None = None
    ) -> tuple[Tensor, KeyValue]:
        """Run frames (b, n, p, e) that follow the cached ones; return them and their own keys and values."""
        x = self.spatial_attn(x, modulation[0])
        x, own = self.temporal_attn(x, modulation[1], cached)
        return self.ffn(x, modulation[2]), own


class SpaceTimeTransformer(nn.Module):
    """A stack of space-time blocks, causal in time.

    Shapes:
        x (b, t, p, e); actions (b, t - 1, a) or (b, t, a) or None -> (b, t, p, e).
    Source:
        parity: TinyWorlds a99f3a8 ``models/st_transformer.py``, tests/vectors/tinyworlds.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        self.blocks = nn.ModuleList(SpaceTimeBlock(config) for _ in range(config.num_blocks))

    def forward(self, x: Tensor, actions: Tensor | None = None) -> Tensor:
        """Run a whole window."""
        frames = x.shape[1]
        x = x + temporal_position_embedding(0, frames, self.embed_dim, like=x)
        for block in self._list_blocks():
            x, _ = block(x, block.compute_modulation(actions, frames))
        return x

    def prefill(self, context: Tensor, actions: Tensor | None, new_frames: int) -> KVCache:
        """Run the context frames (b, t, p, e) once; ``actions`` are those of the whole window, t + new_frames."""
        cached = context.shape[1]
        x = context + temporal_position_embedding(0, cached, self.embed_dim, like=context)
        keys_values, later = [], []
        for index, block in enumerate(self._list_blocks()):
            modulation = block.compute_modulation(actions, cached + new_frames)
            now = _slice_frames(modulation, 0, cached)
            if index + 1 < len(self.blocks):
                x, own = block(x, now)
            else:  # nothing reads the context after the last block's keys and values
                own = block.temporal_attn.project_keys_values(block.spatial_attn(x, now[0]))
            keys_values.append(own)
            later.append(_slice_frames(modulation, cached, None))
        return KVCache(cached, keys_values, later)

    def decode_step(self, x: Tensor, cache: KVCache) -> Tensor:
        """Run the frames (b, n, p, e) that follow the cached ones; equals the last n of the whole window."""
        x = x + temporal_position_embedding(cache.frames, x.shape[1], self.embed_dim, like=x)
        for block, cached, modulation in zip(self._list_blocks(), cache.keys_values, cache.modulations, strict=True):
            x, _ = block(x, modulation, cached)
        return x

    def _list_blocks(self) -> list[SpaceTimeBlock]:
        return cast("list[SpaceTimeBlock]", list(self.blocks))


def _slice_frames(modulation: BlockModulation, start: int, stop: int | None) -> BlockModulation:
    parts = (None if part is None else part.slice_frames(start, stop) for part in modulation)
    return tuple(parts)  # type: ignore[return-value]
