"""What a card would do, counted on the meta device: kernels, bytes, memory and what the host waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from unittest import mock

import torch

from ...models.student import StudentConfig, StudentNetwork
from ...models.wan_vae import WAN21, WanVAE
from ...models.world import RolloutConfig, WorldSession
from ...samplers import FlowUniPC, Prediction, flow_schedule, sample
from ..bench import Bench, Case
from ..codecs import ACTIONS
from ..counting import Counts, count_calls
from ..peers import COMFYUI, import_comfyui
from ..records import OURS, Figure, Outcome
from ..worlds import make_world

__all__ = ["CASES"]

SECTION = "Counted for a card, without one"
MIB = 2**20
STEPS = 10
BLOCKS = 4
STUDENT = StudentConfig(1024, BLOCKS, 16, 4, 1024, 16, 4096)


def measure_counts(bench: Bench) -> Outcome:
    """Count every network, and those of ComfyUI where it is given."""
    size = 64 if bench.is_quick else 512
    jobs: dict[str, Callable[[], Counts]] = {}
    for action in ACTIONS:
        jobs[f"{action} {size}x{size} in bf16, {OURS}"] = partial(count_ours, action, size)
        if bench.peers.comfyui is not None:
            import_comfyui(bench.peers.comfyui)
            jobs[f"{action} {size}x{size} in bf16, {COMFYUI}"] = partial(count_comfyui, action, size)
    jobs[f"student's forward in bf16, {BLOCKS} blocks"] = count_student
    jobs["world's frame, context 2"] = count_world
    figures = [figure for what, count in jobs.items() for figure in list_figures(what, count())]
    return bench.conclude(figures=tuple([*figures, *list_figures("step of FlowUniPC", count_solver(), STEPS)]))


def list_figures(what: str, counts: Counts, times: int = 1) -> Iterator[Figure]:
    """Yield the numbers of one count; ``times`` is how many times the same was done."""
    yield Figure(f"{what}: kernels", counts.kernels / times)
    yield Figure(f"{what}: moved beside convolutions", counts.bytes_beside_convolutions / times / 1e9, "GB")
    yield Figure(f"{what}: peak", counts.peak / MIB, "MiB")
    yield Figure(f"{what}: values that the host waits for", (counts.host_reads + counts.copies_to_host) / times)


def count_ours(action: str, size: int) -> Counts:
    """Count the public decode or encode of this package's VAE."""
    with torch.device("meta"):
        vae = WanVAE(WAN21).requires_grad_(False).bfloat16().use_channels_last()
        given = make_given(action, size)
    with count_calls() as counts:
        getattr(vae, action)(given)
    return counts


def count_comfyui(action: str, size: int) -> Counts:
    """Count the same of the class that ComfyUI's VAE loader builds, with the attention that it takes on a card."""
    from comfy import model_management
    from comfy.ldm.wan.vae import WanVAE as Theirs

    with mock.patch.object(model_management, "pytorch_attention_enabled_vae", lambda: True), torch.device("meta"):
        vae = Theirs(
            dim=WAN21.dim, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True]
        )
        given = make_given(action, size).bfloat16()
    vae = vae.requires_grad_(False).bfloat16()
    with count_calls() as counts, torch.no_grad():
        getattr(vae, action)(given)
    return counts


def make_given(action: str, size: int) -> torch.Tensor:
    """Return a latent to decode, or pixels to encode, without values."""
    return torch.empty((1, 16, 1, size // 8, size // 8) if action == "decode" else (1, 3, 1, size, size))


def count_student() -> Counts:
    """Count one forward of a student of the usual width."""
    network = StudentNetwork(STUDENT, device="meta", dtype=torch.bfloat16).requires_grad_(False)
    with torch.device("meta"):
        given = torch.empty(1, 4, 64, 64), torch.empty(1, dtype=torch.int64), torch.empty(1, 4096)
    with count_calls() as counts, torch.inference_mode():
        network(*given)
    return counts


def count_world() -> Counts:
    """Count the second frame of a session: the first makes the tables that are kept."""
    session = WorldSession(make_world().to("meta"), torch.zeros(2, 3, 64, 64), RolloutConfig())
    with count_calls():
        session.step(0)
    with count_calls() as counts:
        session.step(1)
    return counts


def count_solver() -> Counts:
    """Count a run whose network costs nothing."""
    latent = torch.empty(1, 16, 1, 64, 64, device="meta")
    with count_calls() as counts:
        sample(
            lambda x, timestep: latent,
            latent,
            flow_schedule(STEPS, shift=5.0),
            FlowUniPC(),
            prediction=Prediction.VELOCITY,
        )
    return counts


CASES = (Case("counted", SECTION, measure_counts),)
