"""MaskGIT decoding: all tokens of the new frames start masked, and each step unmasks the most confident of them.

The context is run once for all steps (:meth:`DynamicsModel.prefill`), and only positions that are still masked are
scored. How many tokens a step unmasks does not depend on the frames, so a batch stays rectangular.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from .networks.dynamics import DynamicsModel
from .networks.transformer import KVCache

__all__ = ["Decoded", "Draw", "MaskgitConfig", "count_tokens_to_unmask", "decode"]

Draw = Literal["masked", "all"]


@dataclass(frozen=True)
class MaskgitConfig:
    """How the tokens of the next frames are chosen.

    Attributes:
        horizon: New frames decoded together.
        maskgit_steps: Decoding steps.
        schedule_k: > 0, steepness of the unmasking schedule.
        temperature: Softmax temperature, 0 = always the likeliest token.
        top_k: Sample among the k likeliest tokens only (0 = all).
        top_p: Sample among the likeliest tokens that together reach p only (1 = all).
        action_guidance: 1 = as predicted; above, away from the prediction without actions (classifier-free guidance).
        draw: ``masked`` draws random numbers for masked positions only; ``all`` for every position of the window, as
            the original program did, and so reproduces its samples for a seed.
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
    """The tokens of the new frames, and how they came about; each (b, horizon, p).

    Attributes:
        tokens: Ids.
        unmask_step: The step (from 0) in which each was unmasked.
        confidence: The probability, float32 in [0, 1], that each had then.
    """

    tokens: Tensor
    unmask_step: Tensor
    confidence: Tensor


def count_tokens_to_unmask(step: int, steps: int, total: int, unmasked: int, schedule_k: float) -> int:
    """Return how many tokens a step unmasks: an exponential schedule with a floor of total // 16.

    Differs from the MaskGIT paper: with ten steps the floor decides all steps but the last, as in TinyWorlds.

    Args:
        step: From 0.
        steps: Of the whole decoding.
        total: Tokens to decode.
        unmasked: Tokens that earlier steps unmasked.
        schedule_k: > 0, steepness of the schedule.
    """
    # float32 as the original computes it: the rounding decides where the ceiling falls.
    k = torch.tensor(schedule_k, dtype=torch.float32)
    target = total if step == steps - 1 else math.ceil(float(total * torch.expm1(k * (step / steps)) / torch.expm1(k)))
    left = total - unmasked
    return min(left, max(total // 16, 1, min(max(target - unmasked, 0), left)))


def decode(
    dynamics: DynamicsModel,
    context: Tensor,
    actions: Tensor | None,
    config: MaskgitConfig,
    *,
    to_latents: Callable[[Tensor], Tensor],
    generators: Sequence[Generator],
    on_step: Callable[[int], None] | None = None,
) -> Decoded:
    """Choose the tokens of the ``horizon`` frames that follow a context.

    Args:
        dynamics: Scores the tokens.
        context: Quantised latents (b, t, p, l).
        actions: Vectors (b, t + horizon - 1, a), or None.
        config: How tokens are chosen.
        to_latents: The tokenizer's codebook, (...) -> (..., l).
        generators: One for each item, on the CPU; not used at temperature 0.
        on_step: Called before each step with its number; what it raises ends the decoding.

    Source:
        parity: TinyWorlds a99f3a8 ``DynamicsModel.forward_inference``, tests/vectors/tinyworlds.
    """
    b, frames, p, _ = context.shape
    total = config.horizon * p
    scorer = _TokenScorer(dynamics, context, actions, config)
    latents = dynamics.mask_token.to(context.dtype).expand(b, config.horizon, p, -1).flatten(1, 2).clone()  # b (t p) l
    tokens = torch.zeros(b, total, dtype=torch.long, device=context.device)
    unmask_step, certain = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.float32)
    masked = torch.arange(total, device=context.device).expand(b, -1)
    for step in range(config.maskgit_steps):
        if on_step is not None:
            on_step(step)
        count = count_tokens_to_unmask(step, config.maskgit_steps, total, total - masked.shape[1], config.schedule_k)
        probs = scorer(latents, masked)
        confidence, candidates = probs.max(dim=-1)
        if config.temperature > 0:
            candidates = _sample_tokens(probs, masked, frames * p, total, config, generators)
        most_confident = confidence.topk(count, dim=1).indices
        positions, chosen = masked.gather(1, most_confident), candidates.gather(1, most_confident)
        tokens.scatter_(1, positions, chosen)
        unmask_step.scatter_(1, positions, step)
        if config.temperature > 0:
            confidence = probs.gather(2, candidates.unsqueeze(-1)).squeeze(-1)
        certain.scatter_(1, positions, confidence.gather(1, most_confident))
        codes = to_latents(chosen).to(latents.dtype)
        latents.scatter_(1, positions.unsqueeze(-1).expand(-1, -1, latents.shape[-1]), codes)
        masked = _drop(masked, most_confident)
        if masked.shape[1] == 0:
            break
    shape = (b, config.horizon, p)
    return Decoded(tokens.view(shape), unmask_step.view(shape), certain.view(shape))


class _TokenScorer:
    """Token probabilities of masked positions, from a context that is run once (twice with action guidance)."""

    def __init__(self, dynamics: DynamicsModel, context: Tensor, actions: Tensor | None, config: MaskgitConfig) -> None:
        self.dynamics, self.config = dynamics, config
        self.cache = dynamics.prefill(context, actions, config.horizon)
        self.unconditional: KVCache | None = None
        if actions is not None and config.action_guidance != 1.0:
            self.unconditional = dynamics.prefill(context, None, config.horizon)

    def __call__(self, latents: Tensor, masked: Tensor) -> Tensor:
        frames = latents.unflatten(1, (self.config.horizon, -1))  # b t p l
        logits = self.dynamics.decode_step(frames, self.cache, masked).float()
        if self.unconditional is not None:
            without = self.dynamics.decode_step(frames, self.unconditional, masked).float()
            logits = without + self.config.action_guidance * (logits - without)
        if self.config.temperature > 0:
            logits = logits / self.config.temperature
        return logits.softmax(dim=-1)


def _sample_tokens(
    probs: Tensor, masked: Tensor, context: int, total: int, config: MaskgitConfig, generators: Sequence[Generator]
) -> Tensor:
    """Sample one token for each masked position by an exponential race (Gumbel-max), as ``torch.multinomial`` does.

    With ``draw="all"`` the race is run for all positions of the window, ``context`` of the context and ``total`` new
    ones, and those of masked positions are read: the context's own samples never decided anything, so the samples are
    the original's without scoring the context.
    """
    probs = _keep_likeliest(probs, config.top_k, config.top_p)
    probs = probs / probs.sum(-1, keepdim=True)
    positions = context + total if config.draw == "all" else masked.shape[1]
    drawn = [torch.empty(positions, probs.shape[-1]).exponential_(generator=generator) for generator in generators]
    if config.draw == "all":
        new = torch.stack([arrival[context:] for arrival in drawn]).to(probs.device)
        arrivals = new.gather(1, masked.unsqueeze(-1).expand(-1, -1, new.shape[-1]))
    else:
        arrivals = torch.stack(drawn).to(probs.device)
    return (probs / arrivals).argmax(-1)


def _keep_likeliest(probs: Tensor, top_k: int, top_p: float) -> Tensor:
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


def _drop(masked: Tensor, unmasked: Tensor) -> Tensor:
    """Return the positions that stay masked, in order: rising (b, n) and (b, k) indices into it -> (b, n - k).

    Those that go are made the largest and sorted to the end: how many stay is known without asking the device.
    """
    gone = masked.scatter(1, unmasked, torch.iinfo(masked.dtype).max)
    return gone.sort(dim=1).values[:, : masked.shape[1] - unmasked.shape[1]]
