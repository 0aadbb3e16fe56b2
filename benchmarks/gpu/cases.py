"""What is measured on a card, in the order of its worth: where time runs out, the last ones are left out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ...models.student import Student, StudentConfig, StudentNetwork
from ...models.world import RolloutConfig, WorldSession
from ...models.world.predictor import Window
from ...pipeline.generation import sample_latents
from ...samplers import FlowUniPC, Prediction, flow_schedule, sample
from ...samplers.contract import PRESETS
from ..worlds import make_world
from .codecs import Codec, Peer, build_ours
from .table import OURS, Entry
from .timer import Timer

__all__ = ["CASES", "Bench"]

ACTIONS = ("decode", "encode")
FP8 = torch.float8_e4m3fn


@dataclass(frozen=True)
class Bench:
    """What every case needs.

    Attributes:
        timer: Times on the device.
        weights: The file of the VAE's weights.
        peers: Who is compared with, by name.
        is_quick: Whether sizes are tiny, which proves the program only.
    """

    timer: Timer
    weights: Path
    peers: Mapping[str, Peer]
    is_quick: bool

    @property
    def device(self) -> torch.device:
        """The device."""
        return self.timer.device

    def choose(self, usual: int, quick: int) -> int:
        """Return a size."""
        return quick if self.is_quick else usual


def measure_images(bench: Bench, side: int, dtype: torch.dtype = torch.bfloat16) -> Iterator[Entry]:
    """Decode and encode one image."""
    side = bench.choose(side, 32)
    what = f"image {side}x{side}, {_name(dtype)}"
    yield from _measure_codecs(bench, what, dtype, _make_inputs(bench.device, side, side, 1))


def measure_video(bench: Bench) -> Iterator[Entry]:
    """Decode and encode 81 frames at 480x832."""
    frames, height, width = bench.choose(81, 5), bench.choose(480, 32), bench.choose(832, 32)
    inputs = _make_inputs(bench.device, height, width, frames)
    short = Bench(Timer(bench.device, rounds=2, warm_up=1), bench.weights, bench.peers, bench.is_quick)
    yield from _measure_codecs(short, f"video {frames}x{height}x{width}, bf16", torch.bfloat16, inputs)


def measure_student(bench: Bench) -> Iterator[Entry]:
    """Run a student's forward, a replay of it as a graph, and sample a whole latent and image."""
    student = _make_student(bench, torch.bfloat16)
    side, config = student.config.latent_size, student.config
    latent = torch.randn(1, config.num_channels, side, side, device=bench.device)
    timestep, text = torch.full((1,), 500, device=bench.device), torch.randn(1, 4096, device=bench.device)
    forward = partial(student.network, latent, timestep, text)
    yield from _measure_with_graph(bench, "student forward, bf16", forward)
    contract = PRESETS["flow_unipc-20 shift 5"]
    rows = [torch.randn(20, 4096)]
    codec = build_ours(bench.weights, torch.bfloat16, bench.device)

    def make_image() -> Tensor:
        finished = sample_latents(student, rows, contract=contract)
        pixels: Tensor = codec.decode(student.to_vae_latent(finished).unsqueeze(2)).cpu()
        return pixels

    found = bench.timer.measure({OURS: make_image})
    yield Entry.of("student image, 20 steps and decode, to the host", OURS, found[OURS])


def measure_world(bench: Bench) -> Iterator[Entry]:
    """Predict a world's frame, the same as a graph, and take a step of a session."""
    side = bench.choose(64, 16)
    world = make_world(side).to(bench.device)
    config = RolloutConfig(maskgit_steps=bench.choose(10, 2))
    window = Window(torch.rand(1, config.context_window, 3, side, side, device=bench.device) * 2 - 1)
    actions = torch.zeros(1, config.context_window, dtype=torch.int64, device=bench.device)
    predictor = world.make_predictor(config)
    yield from _measure_with_graph(
        bench, f"world frame {side}x{side}, fp32", lambda: predictor.predict(window, actions, []).frames
    )
    session = WorldSession(world, window.frames[0].cpu(), config)
    found = bench.timer.measure({OURS: lambda: session.step(1)})
    yield Entry.of(f"world session, a step {side}x{side}, to the host", OURS, found[OURS])


def measure_solver(bench: Bench) -> Iterator[Entry]:
    """Run FlowUniPC over a network that answers at once, on an image's and a video's latent."""
    steps, schedule = 20, flow_schedule(20, shift=5.0)
    for shape in ((1, 16, 1, 64, 64), (1, 16, 21, bench.choose(60, 4), bench.choose(104, 4))):
        x, output = (torch.randn(shape, device=bench.device) for _ in range(2))

        def run(x: Tensor = x, output: Tensor = output) -> Tensor:
            return sample(lambda *_: output, x, schedule, FlowUniPC(), prediction=Prediction.VELOCITY)

        found = bench.timer.measure({OURS: run})
        yield Entry.of(f"solver, {steps} steps of {'x'.join(map(str, shape))}", OURS, found[OURS])


def measure_accuracy(bench: Bench) -> Iterator[Entry]:
    """Compare bf16, fp16 and fp8 storage with fp32 on the CPU: root mean square over that of the truth."""
    side = bench.choose(256, 32)
    cpu = torch.device("cpu")
    inputs = _make_inputs(cpu, side, side, 1)
    whole = build_ours(bench.weights, torch.float32, cpu)
    truth = {action: _run(whole, action, inputs[action]) for action in ACTIONS}
    kinds: list[tuple[str, torch.dtype, Peer]] = [
        (OURS, dtype, build_ours) for dtype in (torch.float32, torch.bfloat16, torch.float16)
    ]
    kinds += [(name, torch.bfloat16, peer) for name, peer in bench.peers.items()]
    for who, dtype, build in kinds:
        codec = build(bench.weights, dtype, bench.device)
        for action in ACTIONS:
            found = _run(codec, action, inputs[action].to(bench.device)).cpu()
            reference = truth[action].clamp(-1, 1) if who == "diffusers" and action == "decode" else truth[action]
            yield Entry(f"accuracy of {action} {side}x{side}, {_name(dtype)}", who, rms=_measure_rms(found, reference))
    yield from _measure_student_accuracy(bench)


def _measure_student_accuracy(bench: Bench) -> Iterator[Entry]:
    config = _make_config(bench)
    torch.manual_seed(0)
    latent = torch.randn(1, config.num_channels, config.latent_size, config.latent_size)
    given = latent, torch.full((1,), 500), torch.randn(1, 4096)
    whole = StudentNetwork(config).requires_grad_(False)
    truth = whole(*given)
    for stored, computed in ((None, torch.bfloat16), (None, torch.float16), (FP8, torch.bfloat16)):
        network = StudentNetwork(config).requires_grad_(False)
        network.load_state_dict(
            {key: value if stored is None else value.to(stored).float() for key, value in whole.state_dict().items()}
        )
        network.to(bench.device, computed)
        found = network(*(one.to(bench.device) for one in given)).float().cpu()
        name = _name(computed) if stored is None else f"fp8 storage, {_name(computed)}"
        yield Entry(f"accuracy of the student's forward, {name}", rms=_measure_rms(found, truth))


def measure_compiled(bench: Bench) -> Iterator[Entry]:
    """Decode with ``torch.compile``: what it would gain, and how long it takes to begin."""
    side = bench.choose(512, 32)
    codec = build_ours(bench.weights, torch.bfloat16, bench.device)
    z = _make_inputs(bench.device, side, side, 1)["decode"]
    compiled = torch.compile(codec.decode)
    first = bench.timer.time(partial(compiled, z))
    found = bench.timer.measure({OURS: partial(codec.decode, z), "torch.compile": partial(compiled, z)})
    for who, measured in found.items():
        note = "" if who == OURS else f"{first:.0f} s for the first image"
        yield Entry.of(f"decode {side}x{side} compiled, bf16", who, measured, note)


CASES: dict[str, Callable[[Bench], Iterator[Entry]]] = {
    "image-512": partial(measure_images, side=512),
    "accuracy": measure_accuracy,
    "student": measure_student,
    "world": measure_world,
    "solver": measure_solver,
    "image-1024": partial(measure_images, side=1024),
    "image-2048": partial(measure_images, side=2048),
    "video": measure_video,
    "image-512-fp16": partial(measure_images, side=512, dtype=torch.float16),
    "image-512-fp32": partial(measure_images, side=512, dtype=torch.float32),
    "compiled": measure_compiled,
}
"""By name, the most telling first."""


# Parts of cases ------------------------------------------------------------------------------------------------------


def _measure_codecs(bench: Bench, what: str, dtype: torch.dtype, inputs: Mapping[str, Tensor]) -> Iterator[Entry]:
    for action in ACTIONS:
        builders: dict[str, Peer] = {OURS: build_ours, **bench.peers}
        works, notes = {}, {}
        for who, build in builders.items():
            try:
                works[who] = partial(_run, build(bench.weights, dtype, bench.device), action, inputs[action])
                bench.timer.time(works[who])
            except Exception as error:  # the others are worth having
                works.pop(who, None)
                notes[who] = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
        for who, measured in bench.timer.measure(works).items():
            yield Entry.of(f"{action} {what}", who, measured)
        for who, note in notes.items():
            yield Entry(f"{action} {what}", who, note=note)
        works.clear()
        gc.collect()


def _measure_with_graph(bench: Bench, what: str, work: Callable[[], Tensor]) -> Iterator[Entry]:
    """Time a call, and on a card its replay as a CUDA graph, which no read of the host may interrupt."""
    works: dict[str, Callable[[], object]] = {OURS: work}
    note = ""
    if bench.device.type == "cuda":
        try:
            works["as a CUDA graph"] = _capture(bench, work).replay
        except Exception as error:
            note = f"not as a CUDA graph: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
    for who, measured in bench.timer.measure(works).items():
        yield Entry.of(what, who, measured, note if who == OURS else "")


def _capture(bench: Bench, work: Callable[[], Tensor]) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            bench.timer.time(work)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        work()
    return graph


def _run(codec: Codec, action: str, given: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = getattr(codec, action)(given)
    return found.float()


def _make_inputs(device: torch.device, height: int, width: int, frames: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(1, 16, 1 + (frames - 1) // 4, height // 8, width // 8, generator=generator)
    pixels = torch.rand(1, 3, frames, height, width, generator=generator) * 2 - 1
    return {"decode": latent.to(device), "encode": pixels.to(device)}


def _make_config(bench: Bench) -> StudentConfig:
    side = bench.choose(64, 4)
    return StudentConfig(bench.choose(1024, 32), bench.choose(4, 1), bench.choose(16, 4), 4, 16 * side, 16, 4096)


def _make_student(bench: Bench, dtype: torch.dtype) -> Student:
    torch.manual_seed(0)
    network = StudentNetwork(_make_config(bench)).requires_grad_(False).to(bench.device, dtype)
    return Student(network, output_proj=nn.Conv2d(4, 16, 1).requires_grad_(False).to(bench.device))


def _measure_rms(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).square().mean().sqrt() / truth.square().mean().sqrt())


def _name(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
