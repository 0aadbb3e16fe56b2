"""Names the caption that an image shows, or none: a template rule with a distance limit, so that garbage is rejected.

The rule fits the image as ``ground + mask * (colour - ground)`` over all masks of the image set (every pattern,
a few widths, all half-pixel phases), with the two colours free. It accepts only when the fit leaves little
over, the colour is near one of the palette and the ground is near the set's ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from einops import rearrange, reduce
from torch import Tensor

from ..pipeline.pictures.convert import to_unit
from .patterns import COLOURS, GROUND, PATTERNS, SIZE, draw_mask

__all__ = ["Classification", "classify"]

RESIDUAL_LIMIT = 0.12  # root mean square of what the fit leaves over, in [0, 1] pixel units
COLOUR_LIMIT = 0.22  # distance in RGB, [0, 1] units, from the palette
GROUND_LIMIT = 0.22
PLAIN_CONTRAST = 0.20  # below this distance between the two fitted colours an image is one plain colour
_WIDTHS = (0.36, 0.42, 0.48, 0.54, 0.60, 0.65)
_HALVES = (0.0, 0.5)  # phases between two pixels


@dataclass(frozen=True)
class Classification:
    """What each image shows: class indices ``(b,)`` (-1 where rejected) and the residual of the fit ``(b,)``."""

    colour: Tensor
    pattern: Tensor
    residual: Tensor

    def agrees(self, colour: Tensor, pattern: Tensor) -> Tensor:
        """Return for each image whether both colour and pattern are the ones asked for, ``(b,)`` bool."""
        return (self.colour == colour) & (self.pattern == pattern)


def classify(pixels: Tensor) -> Classification:
    """Name colour and pattern of every image, or -1.

    Args:
        pixels: ``(b, 3, 64, 64)`` in [-1, 1].
    """
    found = [_classify_one(to_unit(image.float())) for image in pixels]
    colour, pattern, residual = zip(*found, strict=True)
    return Classification(torch.tensor(colour), torch.tensor(pattern), torch.tensor(residual))


def _classify_one(image: Tensor) -> tuple[int, int, float]:
    """Classify one image ``(3, 64, 64)`` in [0, 1]."""
    if not torch.isfinite(image).all():
        return -1, -1, float("inf")
    mean = reduce(image, "c h w -> c", "mean")
    spread = float((image - mean[:, None, None]).square().mean().sqrt())
    pattern, front, ground, residual = _fit_best(image)
    plain = list(PATTERNS).index("plain")
    # A plain image is not a faint pattern: the fitted colours of grain lie close together.
    if float((front - ground).norm()) < PLAIN_CONTRAST:
        pattern, front, ground, residual = plain, mean, torch.tensor(GROUND), spread
    palette = torch.tensor(list(COLOURS.values()))
    distance = (palette - front).norm(dim=1)
    accepted = (
        residual <= RESIDUAL_LIMIT
        and float(distance.min()) <= COLOUR_LIMIT
        and float((ground - torch.tensor(GROUND)).norm()) <= GROUND_LIMIT
    )
    return (int(distance.argmin()), pattern, residual) if accepted else (-1, -1, residual)


def _fit_best(image: Tensor) -> tuple[int, Tensor, Tensor, float]:
    """Return the pattern whose mask explains most, the colours of its two sides, and the rms left over."""
    owners, masks, spectra, norms = _make_templates()
    mean = reduce(image, "c h w -> c", "mean")
    centred = image - rearrange(mean, "c -> c 1 1")
    # Two colours lie on one line in RGB: the search needs only the image's place along its longest axis.
    columns = rearrange(centred, "c h w -> c (h w)")
    axis = torch.linalg.eigh(columns @ columns.T).eigenvectors[:, -1]
    axis = axis if axis.sum() > 0 else -axis
    line = torch.einsum("c,chw->hw", axis, centred)
    # Correlation with every template at every whole-pixel phase at once; the period divides 64, so it is circular.
    # The colour is the bright side: only positive fits count, the others have the two sides exchanged.
    fits = torch.fft.irfft2(torch.fft.rfft2(line) * spectra.conj(), s=(SIZE, SIZE)) / norms[:, None, None]
    template, place = divmod(int(fits.argmax()), SIZE * SIZE)
    mask = torch.roll(masks[template], divmod(place, SIZE), dims=(0, 1))
    level = mask.mean()
    slope = torch.einsum("chw,hw->c", centred, mask - level) / norms[template] ** 2
    left = centred - slope[:, None, None] * (mask - level)
    ground = mean - slope * level
    return int(owners[template]), ground + slope, ground, float(left.square().mean().sqrt())


@lru_cache(maxsize=1)
def _make_templates() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return all masks: owners ``(n,)``, masks ``(n, 64, 64)``, their spectra ``(n, 64, 33)`` and norms ``(n,)``."""
    owners: list[int] = []
    masks: list[Tensor] = []
    for index in range(len(PATTERNS)):
        if index == list(PATTERNS).index("plain"):
            continue
        grid = torch.cartesian_prod(torch.tensor(_WIDTHS), torch.tensor(_HALVES), torch.tensor(_HALVES))
        width, shift_x, shift_y = grid.unbind(1)
        masks.append(draw_mask(index, width, shift_x, shift_y))
        owners += [index] * len(grid)
    stack = torch.cat(masks)
    centred = stack - reduce(stack, "n h w -> n 1 1", "mean")
    norms = reduce(centred.square(), "n h w -> n", "sum").sqrt()
    return torch.tensor(owners), stack, torch.fft.rfft2(centred), norms
