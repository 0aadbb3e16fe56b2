"""What a card would do for one forward of a student of the usual size, counted on the meta device."""

from __future__ import annotations

import torch

from wan_lite.benchmarks.counting import count_calls
from wan_lite.models.student import Student, StudentConfig, StudentNetwork
from wan_lite.pipeline.generation import Prompts, sample_latents
from wan_lite.samplers import SamplingContract
from wan_lite.samplers.contract import PRESETS

DEPTH, MIB = 4, 2**20
CONFIG = StudentConfig(1024, DEPTH, 16, 4, 1024, 16, 4096)


def make_network() -> StudentNetwork:
    return StudentNetwork(CONFIG, device="meta", dtype=torch.bfloat16).requires_grad_(False)


def test_a_forward_is_a_few_launches_and_reads_nothing() -> None:
    network = make_network()
    latent, timestep = torch.empty(1, 4, 64, 64, device="meta"), torch.empty(1, device="meta", dtype=torch.int64)
    pooled = torch.empty(1, 4096, device="meta")
    with count_calls() as counts, torch.inference_mode():
        network(latent, timestep, pooled)
    assert counts.kernels <= 24 + 12 * DEPTH
    products = counts.bytes["addmm"] + counts.bytes["scaled_dot_product_attention"]
    assert counts.bytes_beside_convolutions - products <= 200e6 * DEPTH
    assert counts.peak <= 110 * MIB
    assert counts.host_reads == counts.copies_to_host == 0 and not counts.mixed


def make_contract(name: str) -> SamplingContract:
    return PRESETS[name]


def test_the_librarys_loop_reads_nothing_but_the_last_verdict() -> None:
    """Whether every step was finite is asked once, when all are done."""
    student = Student(make_network(), output_proj=torch.nn.Conv2d(4, 16, 1, device="meta"))
    text = torch.randn(20, 4096)
    for name in ("flow_unipc-20 shift 5", "ddim-10 training preview"):
        with count_calls() as counts:
            sample_latents(student, Prompts([text], [text]), contract=make_contract(name))
        assert counts.host_reads + counts.copies_to_host == 1, name
        assert set(counts.mixed) <= {"_to_copy"}
