"""The colours of a preview: an affine map from a latent cell to its mean colour, fitted to a VAE.

ComfyUI has such maps for published VAEs. A student of another VAE carries its own in the header of its file.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from torch import Tensor

from ..errors import CheckpointError

__all__ = ["PREVIEW_KEY", "PreviewColours", "fit_preview_colours"]

PREVIEW_KEY = "wan_lite.preview_colours"
_RGB = 3
_SMALLEST = 1e-4  # of the singular values that count, relative to the largest


@dataclass(frozen=True)
class PreviewColours:
    """A colour in [-1, 1] for each latent cell: ``latent @ factors + bias``.

    Attributes:
        factors: A row of red, green and blue for each channel of the VAE's normalised latent.
        bias: Red, green and blue.
    """

    factors: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]

    def to_json(self) -> str:
        """Return the record as JSON text that :meth:`from_json` reads."""
        return json.dumps({"factors": self.factors, "bias": self.bias})

    @classmethod
    def from_json(cls, text: str, *, channels: int, source: str) -> PreviewColours:
        """Return the record in ``text``.

        Args:
            text: What :meth:`to_json` returned.
            channels: Of the VAE's latent.
            source: The file's name, for the message.

        Raises:
            CheckpointError: It is something else, or of another number of channels.
        """
        try:
            content = json.loads(text)
            factors = tuple(tuple(map(float, row)) for row in content["factors"])
            bias = tuple(map(float, content["bias"]))
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise CheckpointError(
                f"{source}, header key {PREVIEW_KEY}: is not a record of preview colours ({error}); save it again."
            ) from None
        finite = all(math.isfinite(value) for row in (*factors, bias) for value in row)
        if not finite or len(factors) != channels or {len(row) for row in (*factors, bias)} != {_RGB}:
            raise CheckpointError(
                f"{source}, header key {PREVIEW_KEY}: holds {len(factors)} rows, but preview colours are {channels} "
                "rows and a bias of three finite numbers each; save it again."
            )
        return cls(factors, bias)


def fit_preview_colours(latents: Tensor, pixels: Tensor) -> PreviewColours:
    """Return the colours that come nearest, by least squares, to images as a VAE encodes them.

    Args:
        latents: (b, c, h, w), normalised, as the VAE encodes the images.
        pixels: (b, 3, H, W) in [-1, 1], H and W multiples of h and w.
    """
    height = pixels.shape[-2] // latents.shape[-2]
    width = pixels.shape[-1] // latents.shape[-1]
    colours = reduce(pixels.double(), "b c (h p) (w q) -> (b h w) c", "mean", p=height, q=width)
    cells = rearrange(latents.double(), "b c h w -> (b h w) c")
    known = torch.cat([cells, torch.ones_like(cells[:, :1])], dim=1)
    # Latents that were projected from fewer channels leave most maps open: the smallest one, by singular values.
    solved = torch.linalg.lstsq(known, colours, rcond=_SMALLEST, driver="gelsd").solution
    rows = [tuple(round(value, 4) for value in row) for row in solved.tolist()]
    return PreviewColours(tuple(rows[:-1]), rows[-1])
