"""The demo's figures, measured on the shipped weights: used by ``python -m wan_lite.demo.figures`` and by the tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from einops import rearrange, reduce
from safetensors import safe_open
from torch import Generator, Tensor

from ..models.student.student import Student, load_student
from ..models.wan_vae.vae import WanVAE, load_wan_vae
from ..models.world import World, infer_actions, load_world, rollout
from ..models.world.diagnosis.psnr import measure_squared_error, to_psnr
from ..pipeline.generation import decode_images, sample_latents
from ..pipeline.pictures.convert import bytes_to_signed, to_signed
from ..samplers.contract import PRESETS, SamplingContract
from . import demo_file
from .captions import embed
from .game import LEFT, RIGHT, STAY, Clips, effective_actions, paddle_left, play
from .judge import judge
from .pictures import COLOURS, PATTERNS, caption, draw

__all__ = [
    "Painted", "action_share", "clip", "copy_psnr", "demo_student", "demo_vae", "demo_world", "judge_share",
    "one_step_psnr", "other_contract", "own_contract", "paint", "recognised_share", "right_share", "rollout_psnr",
    "tokenizer_psnr", "vae_psnr",
]  # fmt: skip

CLASSES = len(COLOURS) * len(PATTERNS)
HELD_OUT = 1000  # seeds from here on were not used in training


def demo_vae() -> WanVAE:
    """The demo VAE, for pictures."""
    return load_wan_vae(demo_file("vae"), torch.float32, clips=False)


def demo_student(name: str) -> Student:
    """One of the demo students: ``ddim``, ``flow`` or ``4ch``."""
    return load_student(demo_file(f"student_{name}"))


def demo_world() -> World:
    """The demo world: paddle and ball."""
    return load_world(demo_file("world"))


def clip() -> tuple[Tensor, Tensor]:
    """The ground truth beside the world: frames ``(b, t, 3, 32, 32)`` in [-1, 1] and actions ``(b, t - 1)``."""
    with safe_open(demo_file("world_clip"), "pt") as file:
        frames = bytes_to_signed(rearrange(file.get_tensor("frames"), "b t h w c -> b t c h w"))
        return frames, file.get_tensor("actions")


def other_contract(student: Student) -> SamplingContract:
    """The contract of the other process at this student's latent size: what a wrong sampler would do."""
    contract = own_contract(student)
    name = "flow_unipc-20 shift 5" if contract.solver == "ddim" else "ddim-20 run_inference"
    return replace(PRESETS[name], latent=contract.latent, output_projection=contract.output_projection)


def own_contract(student: Student) -> SamplingContract:
    """The contract that a student carries.

    Raises:
        ValueError: it carries none.
    """
    if student.contract is None:
        raise ValueError(f"{student.source}: has no sampling contract; the demo's own students carry one.")
    return student.contract


@dataclass(frozen=True)
class Painted:
    """Pictures ``(b, 3, 64, 64)`` in [-1, 1] and the classes that were asked for, each ``(b,)``."""

    pixels: Tensor
    colour: Tensor
    pattern: Tensor


def paint(
    student: Student,
    vae: WanVAE,
    count: int,
    *,
    contract: SamplingContract | None = None,
    seed: int = HELD_OUT,
    every: int = 1,
) -> Painted:
    """Paint ``count`` pictures, every n-th caption in turn; picture i starts from the noise of ``seed + i``."""
    classes = torch.arange(count) * every % CLASSES
    colour, pattern = classes % len(COLOURS), classes // len(COLOURS)
    text = [embed(caption(int(c), int(p))) for c, p in zip(colour, pattern, strict=True)]
    latent = sample_latents(student, text, contract=contract, seed=seed, batch=count)
    images = decode_images(student, vae, latent.nan_to_num(0.0, 0.0, 0.0))
    return Painted(to_signed(rearrange(images, "b h w c -> b c h w")), colour, pattern)


def right_share(painted: Painted) -> float:
    """The share of pictures that show the colour and the pattern of their caption."""
    return float(judge(painted.pixels).agrees(painted.colour, painted.pattern).float().mean())


def judge_share(count: int, seed: int = HELD_OUT) -> float:
    """The share of pictures of the training distribution that the judge names right."""
    generator = Generator().manual_seed(seed)
    batch = draw(torch.randint(CLASSES, (count,), generator=generator), generator)
    return float(judge(batch.pixels).agrees(batch.colour, batch.pattern).float().mean())


def vae_psnr(vae: WanVAE, count: int, seed: int = HELD_OUT) -> Tensor:
    """PSNR in dB of each of ``count`` held-out pictures, the classes in turn."""
    pixels = draw(torch.arange(count) % CLASSES, Generator().manual_seed(seed)).pixels
    again = [vae.decode(vae.encode(part)) for part in rearrange(pixels, "b c h w -> b c 1 h w").split(32)]
    return to_psnr(measure_squared_error(rearrange(torch.cat(again), "b c 1 h w -> b c h w"), pixels))


def _held_out(count: int, length: int, seed: int) -> tuple[Clips, Tensor]:
    clips = play(count, length, Generator().manual_seed(seed))
    return clips, effective_actions(clips)


def tokenizer_psnr(world: World, count: int, seed: int = HELD_OUT) -> Tensor:
    """PSNR in dB of held-out frames through the tokens, ``(count, 3)``."""
    frames = _held_out(count, 3, seed)[0].frames
    again = world.tokenizer.detokenize(world.tokenizer.tokenize(frames))
    return to_psnr(measure_squared_error(again, frames))


def one_step_psnr(world: World, count: int, seed: int = HELD_OUT) -> tuple[float, float]:
    """Mean squared error as PSNR of the third frame from two true ones; and of repeating the second frame instead.

    Both over frames in which something moves (in this game, all).
    """
    clips, actions = _held_out(count, 3, seed)
    moving = reduce((clips.frames[:, 2] - clips.frames[:, 1]).abs(), "b c h w -> b", "max") > 0
    result = _roll_out(world, clips.frames[:, :2], actions[:, 1:], 1, "pixels")
    guess, truth, last = result[moving, 0], clips.frames[moving, 2], clips.frames[moving, 1]
    return float(_pooled(guess, truth)), float(_pooled(last, truth))


def copy_psnr(frames: Tensor, first: int) -> Tensor:
    """PSNR at each frame from ``first`` on of repeating the last frame before it; ``(t - first,)``."""
    return torch.stack([_pooled(frames[:, first - 1], frames[:, i]) for i in range(first, frames.shape[1])])


def _pooled(frames: Tensor, truth: Tensor) -> Tensor:
    """One PSNR for all pictures together, so that a rare perfect frame does not outweigh the others."""
    return to_psnr(measure_squared_error(frames, truth).mean())


def action_share(world: World, count: int, seed: int = HELD_OUT) -> float:
    """The share of cases in which left, right and stay move the paddle that way by one step (two pixels).

    Paddles at a wall and those that the ball hides are left out.
    """
    clips, _ = _held_out(count, 2, seed)
    right = total = 0
    for action, move in ((STAY, 0), (LEFT, -2), (RIGHT, 2)):
        frame = _roll_out(world, clips.frames, torch.full((count, 1), action), 1, "pixels")[:, 0]
        expected = clips.paddle[:, 1] + move
        inside = (expected >= 0) & (expected <= 24) & (clips.paddle[:, 1] >= 2) & (clips.paddle[:, 1] <= 22)
        right += int((paddle_left(frame) == expected)[inside].sum())
        total += int(inside.sum())
    return right / total


def recognised_share(world: World, count: int, seed: int = HELD_OUT) -> float:
    """The share of steps whose true action the latent action model names, seen in windows of three frames."""
    clips, actions = _held_out(count, 3, seed)
    return float((infer_actions(world, clips.frames)[:, -1] == actions[:, -1]).float().mean())


def rollout_psnr(world: World, frames: Tensor, actions: Tensor, feedback: str, window: int = 2) -> Tensor:
    """PSNR in dB at each predicted frame, over all clips, after ``window`` true frames: ``(t - window,)``."""
    steps = frames.shape[1] - window
    new = _roll_out(world, frames[:, :window], actions[:, window - 1 :], steps, feedback)
    return torch.stack([_pooled(new[:, i], frames[:, window + i]) for i in range(steps)])


def _roll_out(world: World, context: Tensor, actions: Tensor, steps: int, feedback: str) -> Tensor:
    result = rollout(
        world,
        context,
        steps=steps,
        actions=actions.tolist(),
        feedback=feedback,
        context_window=context.shape[1],
        temperature=0.0,
    )
    return result.new_frames
