"""The distilled Wan student: two convolutions round a plain transformer, conditioned on time and averaged text.

Tensor names are those of the checkpoints but for one pair: a checkpoint stores the joint query-key-value projection as
``attn.in_proj_weight`` and ``attn.in_proj_bias``; here it is an ordinary linear layer ``attn.in_proj``, so that a
host's own layers (casting, offloading, LoRA) work for it too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..checkpoint import CheckpointError

__all__ = ["Attend", "Block", "StudentConfig", "StudentNetwork", "Text", "pool_text", "timestep_embedding"]

Text = Tensor | Sequence[Tensor]
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Unmasked attention of heads: query, key and value (b, head, n, d) -> (b, head, n, d)."""
_DEEPEST, _LARGEST = 1024, 2**16  # far beyond any student: a damaged file must not make the loader build for hours


@dataclass(frozen=True)
class StudentConfig:
    """The sizes of a student, as ``config.json`` states them.

    ``image_size // patch_size`` is the side of the *latent*: with the Wan 2.1 VAE (spatial compression 8) an
    ``image_size`` of 1024 and a ``patch_size`` of 16 make a 64x64 latent and a 512x512 image.
    ``text_max_length`` and ``projection_factor`` are kept for the training code and used by nothing here.

    Raises:
        ValueError: A size is not a whole number in its range (depth to 1024, the others to 65536), or the sizes exclude
            each other.
    """

    hidden_size: int
    depth: int
    num_heads: int
    num_channels: int
    image_size: int
    patch_size: int
    text_encoder_output_dim: int
    text_max_length: int = 77
    projection_factor: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self)[:8]:
            value = getattr(self, field.name)
            most = _DEEPEST if field.name == "depth" else _LARGEST
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"{field.name} is {value!r}; it must be a whole number from 1 to {most}.")
        if self.hidden_size % 2 or self.hidden_size < 4 or self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size is {self.hidden_size} with num_heads {self.num_heads}; "
                "hidden_size must be even, at least 4 and a multiple of num_heads."
            )
        if self.image_size < self.patch_size:
            raise ValueError(f"image_size {self.image_size} is smaller than patch_size {self.patch_size}.")

    @property
    def latent_size(self) -> int:
        """The side of the square latent that the student was trained on."""
        return self.image_size // self.patch_size

    @classmethod
    def from_json(cls, content: str | Mapping[str, Any], *, source: str = "config.json") -> StudentConfig:
        """Read a ``config.json``; keys of the training code are ignored.

        Args:
            content: Its text, or the mapping that it holds.
            source: The file's name, for messages.

        Raises:
            CheckpointError: The text is not JSON, a key is missing, or a value is impossible.
        """
        try:
            sizes = json.loads(content) if isinstance(content, str) else content
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{source}: is not valid JSON ({error}); save the student again.") from error
        if not isinstance(sizes, Mapping):
            raise CheckpointError(f"{source}: holds a {type(sizes).__name__}, not a mapping of a student's sizes.")
        missing = [field.name for field in fields(cls)[:7] if field.name not in sizes]
        if missing:
            found = ", ".join(sorted(map(str, sizes))[:8]) or "nothing"
            raise CheckpointError(
                f"{source}: has no {', '.join(missing)} (found {found}); it is not the config.json of a Wan student. "
                "Take the one that the training run saved beside the weights."
            )
        try:
            return cls(**{field.name: sizes[field.name] for field in fields(cls) if field.name in sizes})
        except ValueError as error:
            raise CheckpointError(f"{source}: {error} Take the file that the training run saved.") from error

    def to_json(self) -> str:
        """Return the sizes as JSON text that :meth:`from_json` reads."""
        return json.dumps(asdict(self), sort_keys=True)


class StudentNetwork(nn.Module):
    """The student's network: noisy latent, timestep and text in, the teacher's kind of prediction out.

    Args:
        config: The sizes.
        dtype: Of the weights.
        device: Of the weights.
        operations: Namespace that makes ``Linear``, ``Conv2d`` and ``LayerNorm`` (a host's own layers go here).

    Source: the training repository's ``WanLiteStudent`` (kat3ri/WanDistiller at bce3055); parity vectors in
    ``tests/vectors/student_4ch`` and ``student_16ch``.
    """

    def __init__(
        self,
        config: StudentConfig,
        *,
        dtype: torch.dtype | None = None,
        device: str | torch.device | None = None,
        operations: Any = nn,
    ) -> None:
        super().__init__()
        self.config = config
        # Layers of a host may cast their weights at each call; then the input's dtype is the one to compute in.
        self.follows_input_dtype = operations is not nn
        factory_kwargs = {"dtype": dtype, "device": device}
        size = config.hidden_size
        self.text_proj = operations.Linear(config.text_encoder_output_dim, size, **factory_kwargs)
        self.time_embed = nn.Sequential(
            operations.Linear(size, 4 * size, **factory_kwargs),
            nn.SiLU(),
            operations.Linear(4 * size, size, **factory_kwargs),
        )
        self.conv_in = operations.Conv2d(config.num_channels, size, 3, padding=1, **factory_kwargs)
        self.conv_out = operations.Conv2d(size, config.num_channels, 3, padding=1, **factory_kwargs)
        self.blocks = nn.ModuleList(
            Block(size, config.num_heads, operations, factory_kwargs) for _ in range(config.depth)
        )

    def forward(self, latent: Tensor, timestep: Tensor, text: Text, attend: Attend | None = None) -> Tensor:
        """Predict from a noisy latent what the teacher would.

        Args:
            latent: (b, C, h, w), any h and w (other sizes than the trained one run, with no promise of quality).
            timestep: (b,) or (1,), 0..999 as training fed it, not divided by 1000.
            text: Token embeddings (b, l, d), a list of (l_i, d), or vectors (b, d) from :func:`pool_text`; b may be 1.
            attend: The attention of a host; None is torch's own.

        Returns:
            (b, C, h, w) in the latent's dtype.

        Raises:
            ValueError: The latent or the text has another size than the student was trained with.
        """
        self._check_latent(latent)
        dtype = latent.dtype if self.follows_input_dtype else self.conv_in.weight.dtype
        condition = rearrange(
            self._embed_text(text, latent, dtype) + self._embed_time(timestep, latent, dtype), "b c -> b 1 c"
        )
        height, width = latent.shape[-2:]
        x = rearrange(self.conv_in(latent.to(dtype)), "b c h w -> b (h w) c")
        for block in self.blocks:
            x = block(x, condition, attend)
        x = rearrange(x, "b (h w) c -> b c h w", h=height, w=width)
        return self.conv_out(x).to(latent.dtype)

    def _embed_time(self, timestep: Tensor, latent: Tensor, dtype: torch.dtype) -> Tensor:
        return self.time_embed(timestep_embedding(timestep.to(latent.device), self.config.hidden_size).to(dtype))

    def _embed_text(self, text: Text, latent: Tensor, dtype: torch.dtype) -> Tensor:
        pooled = text if isinstance(text, Tensor) and text.ndim == 2 else pool_text(text)
        expected = self.config.text_encoder_output_dim
        if pooled.shape[1] != expected:
            raise ValueError(
                f"text has embeddings of width {pooled.shape[1]}, but this student was trained with {expected}; "
                "encode the prompt with the text encoder of its training (4096 is Wan's umT5-XXL)."
            )
        if pooled.shape[0] not in (1, latent.shape[0]):
            raise ValueError(
                f"text holds {pooled.shape[0]} prompts for a batch of {latent.shape[0]} latents; give one or one each."
            )
        return self.text_proj(pooled.to(latent.device, dtype))

    def _check_latent(self, latent: Tensor) -> None:
        channels = self.config.num_channels
        if latent.ndim != 4 or latent.shape[1] != channels:
            raise ValueError(
                f"latent has shape {list(latent.shape)}, but this student takes (batch, {channels}, height, width); "
                f"make an empty latent of {channels} channels for it."
            )


class Block(nn.Module):
    """One transformer block; text and time are added to the residual stream again in each.

    Args:
        size: Width of the residual stream.
        heads: Divides it.
        operations: Namespace that makes the layers.
        factory_kwargs: Dtype and device of their weights.
    """

    def __init__(self, size: int, heads: int, operations: Any, factory_kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.norm1 = operations.LayerNorm(size, **factory_kwargs)
        self.attn = SelfAttention(size, heads, operations, factory_kwargs)
        self.norm2 = operations.LayerNorm(size, **factory_kwargs)
        self.mlp = nn.Sequential(
            operations.Linear(size, 4 * size, **factory_kwargs),
            nn.SiLU(),
            operations.Linear(4 * size, size, **factory_kwargs),
        )

    def forward(self, x: Tensor, condition: Tensor, attend: Attend | None = None) -> Tensor:
        """Run the block: x (b, n, c), condition (b or 1, 1, c) -> (b, n, c)."""
        x = x + condition
        x = x + self.attn(self.norm1(x), attend)
        return x + self.mlp(self.norm2(x))


class SelfAttention(nn.Module):
    """Multi-head attention over all positions of the latent, unmasked; only the convolutions know where they are."""

    def __init__(self, size: int, heads: int, operations: Any, factory_kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = operations.Linear(size, 3 * size, **factory_kwargs)
        self.out_proj = operations.Linear(size, size, **factory_kwargs)

    def forward(self, x: Tensor, attend: Attend | None = None) -> Tensor:
        """Attend: (b, n, c) -> (b, n, c)."""
        q, k, v = rearrange(self.in_proj(x), "b n (three head d) -> three b head n d", three=3, head=self.heads)
        mixed = (attend or F.scaled_dot_product_attention)(q, k, v)
        return self.out_proj(rearrange(mixed, "b head n d -> b n (head d)"))


def timestep_embedding(timestep: Tensor, size: int) -> Tensor:
    """Embed timesteps (b,) in 0..999 as (b, size) in float32: all sines, then all cosines, over half - 1 intervals."""
    half = size // 2
    spacing = torch.arange(half, device=timestep.device, dtype=torch.float32) * (-math.log(10000.0) / (half - 1))
    angles = rearrange(timestep.float(), "b -> b 1") * spacing.exp()
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def pool_text(text: Text, length: int | None = None) -> Tensor:
    """Average each prompt over its own tokens: embeddings of zeros after the last token are padding and do not count.

    Args:
        text: (b, l, d) zero-padded to any length, or a list of (l_i, d).
        length: The number of tokens, padding included, to average over instead: a contract's ``text_length``. Training
            batches and previews of several prompts are padded to their longest and averaged over that.

    Returns:
        (b, d) in float32; a prompt of zeros only gives zeros. Means of bfloat16 and float16 rows are rounded once to
        that type, because training takes the mean in the type of its embeddings (Wan's encoder works in bfloat16).

    Raises:
        ValueError: The text has another number of dimensions, the list is empty, or a prompt is longer than ``length``.
    """
    if not isinstance(text, Tensor):
        if not text:
            raise ValueError("text is an empty list; give one tensor (tokens, width) for each prompt.")
        return torch.cat([pool_text(tokens.unsqueeze(0), length) for tokens in text])
    if text.ndim != 3:
        raise ValueError(
            f"text has shape {list(text.shape)}; give (batch, tokens, width) or a list of (tokens, width)."
        )
    counts = _count_tokens(text) if length is None else _check_padded(text, length)
    mean = text.float().sum(dim=1) / rearrange(counts.clamp(min=1), "b -> b 1")
    return mean.to(text.dtype).float() if text.dtype in (torch.bfloat16, torch.float16) else mean


def _count_tokens(text: Tensor) -> Tensor:
    """Return the number of tokens of each prompt (b,): up to the last embedding that is not zeros."""
    position = torch.arange(1, text.shape[1] + 1, device=text.device)
    return ((text != 0).any(dim=2) * position).amax(dim=1) if text.shape[1] else text.new_zeros(text.shape[0])


def _check_padded(text: Tensor, length: int) -> Tensor:
    longest = int(_count_tokens(text).max()) if len(text) else 0
    if longest > length:
        raise ValueError(
            f"text has {longest} tokens, but it is to be averaged over {length} padded ones; shorten the prompt, or "
            "set the contract's text_length to the longest prompt's."
        )
    return torch.full((len(text),), length, device=text.device)
