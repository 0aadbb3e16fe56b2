"""Train the demo VAE: the architecture of the Wan 2.1 VAE at an eighth of its width, with latents that look like Wan's.

Three things differ from an ordinary autoencoder. Noise on the latent makes the decoder forgive a student's small
errors. In a quarter of the images only the first four channels reach the decoder, so that a 4-channel student can
say what matters. And at the end an affine map per channel is folded into the 1x1 convolutions around the latent, so
that it has mean 0 and standard deviation 1 under Wan's *published* statistics: exact, and the file stays a plain Wan
2.1 VAE.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from einops import rearrange, reduce
from torch import Generator, Tensor, nn

from ...models.wan_vae import WanVAE, WanVAEConfig, load_wan_vae, save_wan_vae
from ...models.world.diagnosis.psnr import measure_squared_error, to_psnr
from .. import demo_file
from ..patterns import COLOURS, PATTERNS, draw
from .loop import EMA, Log, make_optimizer, make_parser, schedule_steps, take_step

__all__ = ["DIM", "KEPT", "fold_statistics", "initialise", "main", "measure_psnr", "train", "train_decoder"]

DIM = 12  # the real one is 96 wide
KEPT = 4  # channels that carry the image alone in a quarter of the training
RATE = 1.5e-3
STATISTICS = 1024  # images that mean and standard deviation are taken over
NOISE = 0.10  # on the latent, relative to each channel's standard deviation
CLASSES = len(COLOURS) * len(PATTERNS)


def initialise(vae: WanVAE) -> None:
    """Start as a chain of orthogonal maps: the residual branches are silent and the straight path loses nothing."""
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            silent = name.endswith(("residual.6", "proj"))
            nn.init.zeros_(module.weight) if silent else nn.init.orthogonal_(module.weight)


def reconstruct(vae: WanVAE, pixels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Encode, disturb and decode images ``(b, 3, H, W)``; return the images and a penalty on the latent's scale."""
    z = vae.encode_raw(rearrange(pixels, "b c h w -> b c 1 h w"))
    mean = reduce(z, "b c 1 h w -> 1 c 1 1 1", "mean")
    spread = (reduce((z - mean).square(), "b c 1 h w -> 1 c 1 1 1", "mean") + 1e-8).sqrt()
    noisy = z + NOISE * spread.detach() * torch.randn(z.shape, generator=generator)
    few = torch.rand(len(z), 1, 1, 1, 1, generator=generator) < 0.25
    dropped = torch.arange(z.shape[1]).view(1, -1, 1, 1, 1) >= KEPT
    noisy = torch.where(few & dropped, mean.expand_as(z), noisy)
    penalty = (mean.square() + (spread - 1).square()).mean()
    return rearrange(vae.decode_raw(noisy, clamp=False), "b c 1 h w -> b c h w"), penalty


@torch.no_grad()
def measure_psnr(vae: WanVAE, pixels: Tensor, kept: int = 16) -> Tensor:
    """Return the PSNR in dB of each image after encoding and decoding, ``(b, 3, H, W)`` in [-1, 1] -> ``(b,)``."""
    z = vae.encode_raw(rearrange(pixels, "b c h w -> b c 1 h w"))
    if kept < z.shape[1]:
        z[:, kept:] = reduce(z[:, kept:], "b c 1 h w -> 1 c 1 1 1", "mean")
    again = rearrange(vae.decode_raw(z), "b c 1 h w -> b c h w")
    return to_psnr(measure_squared_error(again, pixels))


@torch.no_grad()
def fold_statistics(vae: WanVAE, pixels: Tensor) -> None:
    """Fold an affine map per channel into ``conv1`` and ``conv2`` so that the normalised latents have mean 0, std 1."""
    z = torch.cat([vae.encode_raw(part) for part in rearrange(pixels, "b c h w -> b c 1 h w").split(64)])
    mean, std = reduce(z, "b c 1 h w -> c", "mean"), rearrange(z, "b c 1 h w -> c (b h w)").std(1)
    gain = vae.latents_std / std
    channels = len(mean)
    into, out_of = vae.conv1.bias, vae.conv2.bias
    assert into is not None and out_of is not None
    vae.conv1.weight[:channels] *= gain.view(-1, 1, 1, 1)
    into[:channels] = (into[:channels] - mean) * gain + vae.latents_mean
    out_of += vae.conv2.weight[:, :, 0, 0] @ (mean - vae.latents_mean / gain)
    vae.conv2.weight /= gain.view(1, -1, 1, 1)


def _lay_channels_last(vae: WanVAE) -> None:
    """Lay the kernels out with the channels last, in which a CPU convolves faster; their numbers stay."""
    for kernel in vae.parameters():
        if kernel.ndim == 4:
            kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)


def train(steps: int, seed: int, models: Path) -> WanVAE:
    """Train encoder and decoder together: on 32x32 corners for the first quarter, then on whole images.

    Corners alone are cheaper, but every place in them is near a border, and the middle of a whole image is not: a
    VAE trained on corners only leaves it grey.
    """
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    vae = WanVAE(WanVAEConfig(dim=DIM))
    initialise(vae)
    _lay_channels_last(vae)
    optimizer = make_optimizer(vae, RATE, 1e-4)
    log = Log("vae", steps, models, every=100)
    for i in schedule_steps(steps, optimizer):
        size, count = (32, 24) if i < steps // 4 else (64, 8)
        again, pixels, penalty = _reconstruct_batch(vae, size, count, generator)
        loss = _compute_loss(again, pixels)
        value = take_step(loss + 1e-3 * penalty, vae, optimizer)
        log.add(i, loss=value, **_measure_sometimes(vae, i, seed))
    fold_statistics(vae, _draw_images(STATISTICS, Generator().manual_seed(seed)))
    return vae


def train_decoder(vae: WanVAE, steps: int, seed: int, models: Path) -> WanVAE:
    """Train the decoder alone: the latents stay as they are, so that students can be trained meanwhile."""
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed + 1)
    vae = vae.float().requires_grad_(False)
    _lay_channels_last(vae)
    decoder = nn.ModuleList([vae.decoder, vae.conv2]).requires_grad_(True)
    optimizer = make_optimizer(decoder, RATE, 1e-4)
    ema, log = EMA(decoder), Log("vae_decoder", steps, models, every=100)
    for i in schedule_steps(steps, optimizer):
        again, pixels, _ = _reconstruct_batch(vae, 64, 8, generator)
        value = take_step(_compute_loss(again, pixels), decoder, optimizer)
        ema.update()
        log.add(i, loss=value, **_measure_sometimes(vae, i, seed))
    ema.write_back()
    return vae


def _reconstruct_batch(vae: WanVAE, size: int, count: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    pixels = _crop_corner(_draw_images(count, generator), size)
    again, penalty = reconstruct(vae, pixels, generator)
    return again, pixels, penalty


def _compute_loss(again: Tensor, pixels: Tensor) -> Tensor:
    error = again - pixels
    return error.abs().mean() + 2 * error.square().mean()


def _measure_sometimes(vae: WanVAE, i: int, seed: int) -> dict[str, float]:
    """Return the PSNR on images of seeds that training does not use, every 400 steps."""
    if (i + 1) % 400:
        return {}
    pixels = draw(torch.arange(2 * CLASSES) % CLASSES, Generator().manual_seed(seed + 1000)).pixels
    return {"psnr": float(measure_psnr(vae, pixels).mean())}


def _draw_images(count: int, generator: Generator) -> Tensor:
    return draw(torch.randint(CLASSES, (count,), generator=generator), generator).pixels


def _crop_corner(pixels: Tensor, size: int) -> Tensor:
    """The upper left corner: phases are random, so every corner is as good."""
    return pixels[..., :size, :size]


def save(vae: WanVAE, path: Path) -> None:
    """Write a VAE in half precision and the official layout."""
    about = {"modelspec.title": "Wan Lite demo VAE", "modelspec.architecture": "wan-2.1-vae"}
    save_wan_vae(vae.half(), path, metadata=about | {"modelspec.license": "Apache-2.0"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and write ``vae.safetensors``: first both halves, or with ``--decoder`` the decoder of that file."""
    parser = make_parser(main.__doc__)
    parser.add_argument("--steps", type=int, help="6000 for both halves, 2400 for the decoder")
    parser.add_argument("--decoder", action="store_true", help="train the decoder alone, from that file")
    options = parser.parse_args(arguments)
    path = demo_file("vae", options.models)
    path.parent.mkdir(parents=True, exist_ok=True)
    if options.decoder:
        vae = load_wan_vae(path, torch.float32, video=False)
        save(train_decoder(vae, options.steps or 2400, options.seed, options.models), path)
    else:
        save(train(options.steps or 6000, options.seed, options.models), path)


if __name__ == "__main__":
    main()
