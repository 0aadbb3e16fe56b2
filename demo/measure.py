"""The demo's figures, measured on the shipped weights: used by ``python -m wan_lite.demo.figures`` and by the tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from einops import rearrange, reduce
from safetensors import safe_open
from torch import Generator, Tensor

from ..models.student import Student, load_student
from ..models.wan_vae import WanVAE, load_wan_vae
from ..models.world import World, infer_actions, load_world, rollout
from ..models.world.diagnosis.psnr import measure_squared_error, to_psnr
from ..pipeline.generation import decode_images, sample_latents
from ..pipeline.pictures.convert import bytes_to_signed, to_signed
from ..samplers.contract import PRESETS, SamplingContract
from ..samplers.schedule import shift_sigma
from . import demo_file
from .captions import embed
from .classifier import classify
from .game import LEFT, RIGHT, STAY, Episodes, find_effective_actions, find_paddle, play
from .patterns import COLOURS, PATTERNS, draw, make_caption

__all__ = [
    "Sampled",
    "get_contract",
    "load_demo_student",
    "load_demo_vae",
    "load_demo_video",
    "load_demo_world",
    "make_few_step_contracts",
    "make_wrong_contract",
    "measure_accuracy",
    "measure_classifier",
    "measure_copy_psnr",
    "measure_obedience",
    "measure_one_step_psnr",
    "measure_recognition",
    "measure_rollout_psnr",
    "measure_tokenizer_psnr",
    "measure_vae_psnr",
    "sample_captions",
]  # fmt: skip

CLASSES = len(COLOURS) * len(PATTERNS)
HELD_OUT = 1000  # seeds from here on were not used in training


def load_demo_vae() -> WanVAE:
    """Load the demo VAE, for images."""
    return load_wan_vae(demo_file("vae"), torch.float32, video=False)


def load_demo_student(name: str) -> Student:
    """Load one of the demo students: ``ddim``, ``flow``, ``4ch`` or ``4step``."""
    return load_student(demo_file(f"student_{name}"))


def load_demo_world() -> World:
    """Load the demo world: paddle and ball."""
    return load_world(demo_file("world"))


def load_demo_video() -> tuple[Tensor, Tensor]:
    """Load the ground truth beside the world: frames ``(b, t, 3, 32, 32)`` in [-1, 1] and actions ``(b, t - 1)``."""
    with safe_open(demo_file("world_clip"), "pt") as file:
        frames = bytes_to_signed(rearrange(file.get_tensor("frames"), "b t h w c -> b t c h w"))
        return frames, file.get_tensor("actions")


def make_wrong_contract(student: Student) -> SamplingContract:
    """Return the contract of the other process at this student's latent size: what a wrong sampler would do."""
    contract = get_contract(student)
    name = "flow_unipc-20 shift 5" if contract.solver == "ddim" else "ddim-20 run_inference"
    return replace(PRESETS[name], latent=contract.latent, output_projection=contract.output_projection)


def get_contract(student: Student) -> SamplingContract:
    """Return the contract that a student carries.

    Raises:
        ValueError: It carries none.
    """
    if student.contract is None:
        raise ValueError(f"{student.source}: has no sampling contract; the demo's own students carry one.")
    return student.contract


def make_few_step_contracts(student: Student) -> dict[str, SamplingContract]:
    """Return ways to sample a four-step student: its own, and those that people take for it.

    ``euler`` visits its own sigmas without fresh noise; ``normal`` renoises, but at the sigmas that core's scheduler of
    that name makes of four steps at the same shift; ``unipc_20`` is the teacher's own sampling.
    """
    own = get_contract(student)
    teacher = replace(PRESETS["flow_unipc-20 shift 5"], latent=own.latent)
    elsewhere = replace(own, denoising_steps=None, levels=space_normally(own.steps, own.shift))
    return {"own": own, "euler": replace(own, solver="flow_euler"), "normal": elsewhere, "unipc_20": teacher}


def space_normally(steps: int, shift: float) -> tuple[float, ...]:
    """Return the sigmas of core's scheduler ``normal``: even between the shifted ends of its table, shifted again."""
    first, last = shift_sigma(1.0, shift), shift_sigma(0.001, shift)
    return tuple(shift_sigma(first + (last - first) * i / (steps - 1), shift) for i in range(steps))


@dataclass(frozen=True)
class Sampled:
    """Images ``(b, 3, 64, 64)`` in [-1, 1] and the classes that were asked for, each ``(b,)``."""

    pixels: Tensor
    colour: Tensor
    pattern: Tensor


def sample_captions(
    student: Student,
    vae: WanVAE,
    count: int,
    *,
    contract: SamplingContract | None = None,
    seed: int = HELD_OUT,
    every: int = 1,
) -> Sampled:
    """Sample ``count`` images, every n-th caption in turn; image i starts from the noise of ``seed + i``."""
    classes = torch.arange(count) * every % CLASSES
    colour, pattern = classes % len(COLOURS), classes // len(COLOURS)
    text = [embed(make_caption(int(c), int(p))) for c, p in zip(colour, pattern, strict=True)]
    latent = sample_latents(student, text, contract=contract, seed=seed, batch=count)
    images = decode_images(student, vae, latent.nan_to_num(0.0, 0.0, 0.0))
    return Sampled(to_signed(rearrange(images, "b h w c -> b c h w")), colour, pattern)


def measure_accuracy(sampled: Sampled) -> float:
    """Return the share of images that show the colour and the pattern of their caption."""
    return float(classify(sampled.pixels).agrees(sampled.colour, sampled.pattern).float().mean())


def measure_classifier(count: int, seed: int = HELD_OUT) -> float:
    """Return the share of images of the training distribution that the classifier names right."""
    generator = Generator().manual_seed(seed)
    batch = draw(torch.randint(CLASSES, (count,), generator=generator), generator)
    return float(classify(batch.pixels).agrees(batch.colour, batch.pattern).float().mean())


def measure_vae_psnr(vae: WanVAE, count: int, seed: int = HELD_OUT) -> Tensor:
    """Return the PSNR in dB of each of ``count`` held-out images, the classes in turn."""
    pixels = draw(torch.arange(count) % CLASSES, Generator().manual_seed(seed)).pixels
    again = [vae.decode(vae.encode(part)) for part in rearrange(pixels, "b c h w -> b c 1 h w").split(32)]
    return to_psnr(measure_squared_error(rearrange(torch.cat(again), "b c 1 h w -> b c h w"), pixels))


def _play_held_out(count: int, length: int, seed: int) -> tuple[Episodes, Tensor]:
    episodes = play(count, length, Generator().manual_seed(seed))
    return episodes, find_effective_actions(episodes)


def measure_tokenizer_psnr(world: World, count: int, seed: int = HELD_OUT) -> Tensor:
    """Return the PSNR in dB of held-out frames through the tokens, ``(count, 3)``."""
    frames = _play_held_out(count, 3, seed)[0].frames
    again = world.tokenizer.detokenize(world.tokenizer.tokenize(frames))
    return to_psnr(measure_squared_error(again, frames))


def measure_one_step_psnr(world: World, count: int, seed: int = HELD_OUT) -> tuple[float, float]:
    """Return the PSNR of the third frame predicted from two true ones, and of repeating the second frame instead.

    Both are of the mean squared error over frames in which something moves (in this game, all).
    """
    episodes, actions = _play_held_out(count, 3, seed)
    moving = reduce((episodes.frames[:, 2] - episodes.frames[:, 1]).abs(), "b c h w -> b", "max") > 0
    result = _predict_frames(world, episodes.frames[:, :2], actions[:, 1:], 1, "pixels")
    guess, truth, last = result[moving, 0], episodes.frames[moving, 2], episodes.frames[moving, 1]
    return float(_measure_pooled_psnr(guess, truth)), float(_measure_pooled_psnr(last, truth))


def measure_copy_psnr(frames: Tensor, first: int) -> Tensor:
    """Return the PSNR at each frame from ``first`` on of repeating the last one before; ``(t - first,)``."""
    last = frames[:, first - 1]
    return torch.stack([_measure_pooled_psnr(last, frames[:, i]) for i in range(first, frames.shape[1])])


def _measure_pooled_psnr(frames: Tensor, truth: Tensor) -> Tensor:
    """Return one PSNR for all images together, so that a rare perfect frame does not outweigh the others."""
    return to_psnr(measure_squared_error(frames, truth).mean())


def measure_obedience(world: World, count: int, seed: int = HELD_OUT) -> float:
    """Return the share of cases in which left, right and stay move the paddle that way by one step (two pixels).

    Paddles at a wall and those that the ball hides are left out.
    """
    episodes, _ = _play_held_out(count, 2, seed)
    right = total = 0
    for action, move in ((STAY, 0), (LEFT, -2), (RIGHT, 2)):
        frame = _predict_frames(world, episodes.frames, torch.full((count, 1), action), 1, "pixels")[:, 0]
        expected = episodes.paddle[:, 1] + move
        inside = (expected >= 0) & (expected <= 24) & (episodes.paddle[:, 1] >= 2) & (episodes.paddle[:, 1] <= 22)
        right += int((find_paddle(frame) == expected)[inside].sum())
        total += int(inside.sum())
    return right / total


def measure_recognition(world: World, count: int, seed: int = HELD_OUT) -> float:
    """Return the share of steps whose true action the latent action model names, seen in windows of three frames."""
    episodes, actions = _play_held_out(count, 3, seed)
    return float((infer_actions(world, episodes.frames)[:, -1] == actions[:, -1]).float().mean())


def measure_rollout_psnr(world: World, frames: Tensor, actions: Tensor, feedback: str, window: int = 2) -> Tensor:
    """Return the PSNR in dB at each predicted frame after ``window`` true ones, over all videos: ``(t - window,)``."""
    steps = frames.shape[1] - window
    new = _predict_frames(world, frames[:, :window], actions[:, window - 1 :], steps, feedback)
    return torch.stack([_measure_pooled_psnr(new[:, i], frames[:, window + i]) for i in range(steps)])


def _predict_frames(world: World, context: Tensor, actions: Tensor, steps: int, feedback: str) -> Tensor:
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
