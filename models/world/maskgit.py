"""MaskGIT decoding: all tokens of the new frames start unknown, and each pass writes the ones it is surest of.

The context is run once for all passes (:meth:`DynamicsModel.remember`), and only positions that are still unknown are
scored. The number of tokens that a pass writes does not depend on the frames, so a batch stays rectangular.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from .dynamics import DynamicsModel
from .transformer import Memory

__all__ = ["Decoded", "MaskgitConfig", "decode", "tokens_to_write"]

Draw = Literal["masked", "all"]


@dataclass(frozen=True)
class MaskgitConfig:
    """How the tokens of the next frames are chosen.

    Attributes:
        horizon: new frames decoded together. maskgit_steps: passes. schedule_k: > 0, steepness of the schedule.
        temperature: softmax temperature, 0 = always the likeliest token.
        top_k, top_p: draw among the k likeliest tokens (0 = all), among the likeliest that together reach p (1 = all).
        action_guidance: 1 = as predicted; above, away from the prediction without actions (classifier-free guidance).
        draw: ``masked`` draws for unknown positions only; ``all`` draws for every position of the window, as the
            original program did, and so reproduces its samples for a seed.
    """

    horizon: int = 1
    maskgit_steps: int = 10
    schedule_k: float = 5.0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    action_guidance: float = 1.0
    draw: Draw = "masked"


@dataclass(frozen=True)
class Decoded:
    """Tokens (b, horizon, p) of the new frames, and in which pass each was written (from 0)."""

    tokens: Tensor
    written_in: Tensor


def tokens_to_write(step: int, steps: int, total: int, written: int, schedule_k: float) -> int:
    """Return how many tokens pass ``step`` of ``steps`` writes: an exponential schedule with a floor of total // 16.

    Differs from the MaskGIT paper: with ten passes the floor decides all passes but the last, as in TinyWorlds.
    """
    # float32 as the original computes it: the rounding decides where the ceiling falls.
    k = torch.tensor(schedule_k, dtype=torch.float32)
    target = total if step == steps - 1 else math.ceil(float(total * torch.expm1(k * (step / steps)) / torch.expm1(k)))
    left = total - written
    return min(left, max(total // 16, 1, min(max(target - written, 0), left)))


def decode(
    dynamics: DynamicsModel,
    context: Tensor,
    actions: Tensor | None,
    config: MaskgitConfig,
    *,
    to_latents: Callable[[Tensor], Tensor],
    generators: Sequence[Generator],
    on_pass: Callable[[int], None] | None = None,
) -> Decoded:
    """Choose the tokens of the ``horizon`` frames that follow a context.

    Args:
        context: quantised latents (b, t, p, l). actions: vectors (b, t + horizon - 1, a), or None.
        to_latents: the tokenizer's table, (...) -> (..., l). generators: one for each item, on the CPU.
        on_pass: called before each pass with its number; what it raises ends the decoding.

    Source:
        parity: TinyWorlds a99f3a8 ``DynamicsModel.forward_inference``, tests/vectors/tinyworlds.
    """
    b, frames, p, _ = context.shape
    seen, total = frames * p, config.horizon * p
    scores = _Scores(dynamics, context, actions, config)
    latents = dynamics.mask_token.to(context.dtype).expand(b, config.horizon, p, -1).flatten(1, 2).clone()
    tokens = torch.zeros(b, total, dtype=torch.long, device=context.device)
    written_in = torch.zeros_like(tokens)
    unknown = torch.arange(total, device=context.device).expand(b, -1)
    for step in range(config.maskgit_steps):
        if on_pass is not None:
            on_pass(step)
        count = tokens_to_write(step, config.maskgit_steps, total, total - unknown.shape[1], config.schedule_k)
        probs = scores(latents, unknown)
        confidence, candidates = probs.max(dim=-1)
        if config.temperature > 0:
            candidates = _drawn(probs, unknown, (seen, seen + total), config, generators)
        surest = confidence.topk(count, dim=1).indices
        where, chosen = unknown.gather(1, surest), candidates.gather(1, surest)
        tokens.scatter_(1, where, chosen)
        written_in.scatter_(1, where, step)
        latents.scatter_(1, where.unsqueeze(-1).expand(-1, -1, latents.shape[-1]), to_latents(chosen).to(latents.dtype))
        unknown = _without(unknown, surest)
        if unknown.shape[1] == 0:
            break
    shape = (b, config.horizon, p)
    return Decoded(tokens.view(shape), written_in.view(shape))


class _Scores:
    """Token probabilities of unknown positions, from a context that is run once (twice with action guidance)."""

    def __init__(self, dynamics: DynamicsModel, context: Tensor, actions: Tensor | None, config: MaskgitConfig) -> None:
        self.dynamics, self.config = dynamics, config
        self.memory = dynamics.remember(context, actions, config.horizon)
        self.free: Memory | None = None
        if actions is not None and config.action_guidance != 1.0:
            self.free = dynamics.remember(context, None, config.horizon)

    def __call__(self, latents: Tensor, unknown: Tensor) -> Tensor:
        frames = latents.unflatten(1, (self.config.horizon, -1))
        logits = self.dynamics.logits(frames, self.memory, unknown).float()
        if self.free is not None:
            without = self.dynamics.logits(frames, self.free, unknown).float()
            logits = without + self.config.action_guidance * (logits - without)
        if self.config.temperature > 0:
            logits = logits / self.config.temperature
        return logits.softmax(dim=-1)


def _drawn(
    probs: Tensor, unknown: Tensor, window: tuple[int, int], config: MaskgitConfig, generators: Sequence[Generator]
) -> Tensor:
    """Draw one token for each unknown position: the race of exponential clocks that ``torch.multinomial`` runs.

    With ``draw="all"`` the clocks of every position of the window are started and those of unknown positions read: the
    context's own draws never decided anything, so the samples are the original's without scoring the context.
    ``window`` is how many positions the context and the whole window have.
    """
    probs = _likeliest(probs, config.top_k, config.top_p)
    probs = probs / probs.sum(-1, keepdim=True)
    context, everything = window
    rows = everything if config.draw == "all" else unknown.shape[1]
    clocks = []
    for item, generator in enumerate(generators):
        clock = torch.empty(rows, probs.shape[-1]).exponential_(generator=generator)
        clocks.append(clock[context + unknown[item].cpu()] if config.draw == "all" else clock)
    return (probs / torch.stack(clocks).to(probs.device)).argmax(-1)


def _likeliest(probs: Tensor, top_k: int, top_p: float) -> Tensor:
    """Set all but the likeliest tokens to zero; the likeliest one always stays."""
    if 0 < top_k < probs.shape[-1]:
        probs = torch.where(probs >= probs.topk(top_k, dim=-1).values[..., -1:], probs, 0)
    if top_p < 1.0:
        ordered, order = probs.sort(dim=-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        enough = before >= top_p * ordered.sum(-1, keepdim=True)
        enough[..., 0] = False
        probs = probs.masked_fill(torch.zeros_like(enough).scatter(-1, order, enough), 0)
    return probs


def _without(unknown: Tensor, written: Tensor) -> Tensor:
    """Return the positions that stay unknown, in order: (b, n) and (b, k) places in it -> (b, n - k)."""
    stay = torch.ones_like(unknown, dtype=torch.bool).scatter(1, written, False)
    return unknown[stay].view(unknown.shape[0], -1)
