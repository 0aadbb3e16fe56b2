"""Threads by the size of the work: one for a small network, all for a large one, and always the same afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from students import flow, golden, sample

from harness import raises, run, submodule


@contextmanager
def threads(count: int) -> Iterator[None]:
    """A host with this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def small(operations: float) -> Iterator[None]:
    """Take less than this for small."""
    module = submodule("nodes.host.cpu.threads")
    before, module.SMALL = module.SMALL, operations
    try:
        yield
    finally:
        module.SMALL = before


def watch(module: torch.nn.Module) -> list[int]:
    """The numbers of threads that a module is called with, from now on."""
    seen: list[int] = []
    module.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    return seen


def sample_student(**changes: Any) -> list[int]:
    model = flow("student_4ch")
    seen = watch(model.model.diffusion_model)
    sample("WanLiteFlowUniPCSampler", model, "student_4ch", steps=2, **changes)
    return seen


def check_a_small_student_is_sampled_in_one_thread() -> None:
    with threads(2):
        assert set(sample_student()) == {1} and torch.get_num_threads() == 2
        with small(1.0):
            assert set(sample_student()) == {2} and torch.get_num_threads() == 2


def check_the_number_comes_back_after_an_error() -> None:
    text = golden("student_4ch")["text"][None, :, :3]
    with threads(2):
        raises(Exception, sample_student, positive=[[text, {"pooled_output": None}]])
        assert torch.get_num_threads() == 2


def check_a_small_vae_works_in_one_thread() -> None:
    (vae,) = run("WanLiteVAELoader", vae_name="wan21_tiny.safetensors")
    seen: list[int] = []
    decode = vae.first_stage_model.decode_raw
    vae.first_stage_model.decode_raw = lambda *args, **options: (
        seen.append(torch.get_num_threads()) or decode(*args, **options)
    )
    with threads(2):
        run("VAEDecode", vae=vae, samples={"samples": torch.zeros(1, 16, 1, 4, 4)})
        with small(1.0):
            run("VAEDecode", vae=vae, samples={"samples": torch.zeros(1, 16, 1, 4, 4)})
        assert seen == [1, 2] and torch.get_num_threads() == 2
        (latent,) = run("VAEEncode", vae=vae, pixels=torch.rand(1, 32, 32, 3))
        assert torch.isfinite(latent["samples"]).all() and torch.get_num_threads() == 2


def check_what_is_large() -> None:
    """Half a billion weights at a training size, and Wan's own VAE from 64 pixels on, keep all threads."""
    module = submodule("nodes.host.cpu.threads")
    network = torch.nn.Linear(500_000, 1_000, device="meta")
    assert module.count_network(network, 32 * 32) > module.SMALL
    assert module.count_decoder(96, 1, 64 * 64) > module.SMALL
    assert module.count_decoder(12, 1, 256 * 256) < module.SMALL
