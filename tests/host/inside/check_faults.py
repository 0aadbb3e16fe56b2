"""Memory that runs out and users who interrupt, at every stage: the memory comes back, and the next run is the same."""

import contextlib
import gc
import shutil
import time
from unittest.mock import patch

import comfy.cli_args
import comfy.model_management as management
import torch
from students import flow, text
from torch.utils._python_dispatch import TorchDispatchMode

from harness import base, raises, run, submodule

NAME = "student_16ch"
DELETED = "deleted"
SHARES = (0.0, 0.4, 0.8)
"""Of a run's operations: where something goes wrong."""
MOST_SECONDS = 2.0
"""Of processor time between an interruption and its effect; on these small models mostly far below."""


class Calls(TorchDispatchMode):
    """Counts torch's operations while it is open, and does something at one of them, or from it on."""

    def __init__(self, at=None, act=None, lasting=False):
        super().__init__()
        self.at, self.act, self.lasting, self.count, self.acted = at, act, lasting, 0, None

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        if self.at is not None and self.count > self.at and (self.lasting or self.acted is None):
            self.acted = self.acted or time.process_time()
            self.act()
        return function(*args, **(kwargs or {}))


def run_out():
    """Fail as torch does; the VAE tries again in smaller chunks as long as there are any."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB (a test)")


def count_bytes():
    """Bytes of all tensors that are alive, each storage once."""
    gc.collect()
    with contextlib.suppress(AttributeError):
        management.cleanup_models()
    storages = {}
    for found in gc.get_objects():
        if isinstance(found, torch.Tensor) and not found.is_meta and found.layout == torch.strided:
            with contextlib.suppress(RuntimeError, NotImplementedError):
                storage = found.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def tensors_of(value):
    """All tensors in what a node gave, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for key in sorted(value) for tensor in tensors_of(value[key])]
    return [tensor for item in value for tensor in tensors_of(item)] if isinstance(value, list | tuple) else []


def same(first, second):
    first, second = tensors_of(first), tensors_of(second)
    return bool(first) and len(first) == len(second) and all(map(torch.equal, first, second))


def interrupt(work, at):
    """Interrupt a run at a call, and return the seconds of processor time until it had an effect.

    Work that ends before anybody looks is interrupted as the host does it, before the next node.
    """
    with (
        Calls(at, management.interrupt_current_processing) as fault,
        contextlib.suppress(management.InterruptProcessingException),
    ):
        work()
        management.throw_exception_if_processing_interrupted()
        raise AssertionError(f"nobody was interrupted in {fault.count} calls, the first at {fault.acted}")
    return time.process_time() - fault.acted


def stages():
    """Each kind of work as a function without arguments."""
    student = flow(NAME)
    (vae,) = run("WanLiteVAELoader", vae_name="wan21_tiny.safetensors", precision="fp32")
    (world, *_, clip) = run("WanLiteWorldLoader", world_name="wan-lite-demo/world.safetensors")
    frames = next(output for output in (clip, *_) if isinstance(output, torch.Tensor))
    image = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    (latent,) = run("WanLiteVAEEncode", image=image, vae=vae)
    sampled = {"model": student, "positive": text(NAME), "on_mismatch": "ignore"}
    empty = {"samples": torch.zeros(2, 16, 1, 4, 4)}

    def sample_with_core():
        (noise,), (guider,) = run("WanLiteNoise"), run("BasicGuider", model=student, conditioning=text(NAME))
        (sampler,), (sigmas,) = run("WanLiteSolverFlowUniPC", on_mismatch="ignore"), run("WanLiteFlowSchedule", steps=4)
        inputs = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": empty}
        return run("SamplerCustomAdvanced", **inputs)

    return {
        "sample": lambda: run("WanLiteFlowUniPCSampler", steps=4, latent_image=empty, **sampled),
        "sample with core": sample_with_core,
        "encode": lambda: run("WanLiteVAEEncode", image=image, vae=vae),
        "decode": lambda: run("WanLiteVAEDecode", samples=latent, vae=vae),
        "rollout": lambda: run("WanLiteWorldRollout", world=world, context=frames[:4], steps=3)[:1],
        "diagnose": lambda: run("WanLiteWorldDiagnose", world=world, frames=frames[:6])[:2],
        "probe": lambda: run(
            "WanLiteSamplingProbe", model=student, positive=text(NAME), vae=vae, pictures=1,
            candidates="flow_unipc-20 shift 5\nddim-20 run_inference",
        )[:2],
    }  # fmt: skip


def check_memory_that_runs_out():
    for name, work in stages().items():
        work()  # what is made once is made
        with Calls() as calls:
            wanted = work()
        before = count_bytes()
        for share in SHARES:
            with Calls(int(share * calls.count), run_out, lasting=True):
                # The VAE tries again in smaller chunks, and says MemoryError where none is small enough; torch's own
                # constructors turn what fails inside of them into a ValueError.
                raises((torch.OutOfMemoryError, MemoryError, ValueError), work)
            left = count_bytes()
            assert left <= before * 1.001 + 4096, (name, share, before, left)
            assert same(work(), wanted), (name, share)


def check_interruptions():
    slowest = {}
    for name, work in stages().items():
        with Calls() as calls:
            wanted = work()
        before = count_bytes()
        for share in SHARES[:2]:
            slowest[name] = max(slowest.get(name, 0.0), interrupt(work, int(share * calls.count)))
            left = count_bytes()
            assert left <= before * 1.001 + 4096, (name, share, before, left)
            assert same(work(), wanted), (name, share)
    assert max(slowest.values()) < MOST_SECONDS, slowest


def check_large_images_can_be_interrupted():
    (vae,) = run("WanLiteVAELoader", vae_name="wan21_tiny.safetensors", precision="fp32")
    latent = {"samples": torch.zeros(1, 16, 1, 128, 128)}
    image = torch.zeros(1, 1024, 1024, 3)
    works = {
        "decode": lambda: run("WanLiteVAEDecode", samples=latent, vae=vae, tiling="budget", budget_mb=64),
        "decode by core": lambda: run("VAEDecode", samples=latent, vae=vae),
        "encode": lambda: run("WanLiteVAEEncode", image=image, vae=vae, tiling="budget", budget_mb=64),
    }
    slowest = {name: interrupt(work, 0) for name, work in works.items()}
    assert max(slowest.values()) < MOST_SECONDS, slowest


def check_memory_that_runs_out_while_loading():
    checkpoint, loading = submodule("models.checkpoint"), submodule("models.wan_vae.loading")
    loads = {
        "student": (lambda: run("WanLiteStudentLoader", student_name=NAME), checkpoint),
        "VAE": (lambda: run("WanLiteVAELoader", vae_name="wan21_tiny.safetensors"), loading),
        "world": (lambda: run("WanLiteWorldLoader", world_name="wan-lite-demo/world.safetensors"), checkpoint),
        "embeds": (lambda: run("WanLiteTextEmbedsLoad", name=f"{NAME}.safetensors"), checkpoint),
    }
    for name, (load, module) in loads.items():
        load()
        before = count_bytes()
        copy, seen = module.copy_tensor, []

        def fail_later(tensor, dtype, copy=copy, seen=seen, last=0 if name == "embeds" else 5):
            seen.append(1)
            return run_out() if len(seen) > last else copy(tensor, dtype)

        with patch.object(module, "copy_tensor", fail_later):
            raises(torch.OutOfMemoryError, load)
        left = count_bytes()
        assert left <= before * 1.001 + 4096, (name, before, left)
        assert load()


def check_files_that_are_deleted_while_they_are_loaded():
    """What is loaded owns its memory; what a video would still read says which file is missing."""
    folder = base() / "models"
    shutil.copytree(folder / "wan_students" / NAME, folder / "wan_students" / DELETED)
    shutil.copy(folder / "vae" / "wan21_tiny.safetensors", folder / "vae" / f"{DELETED}.safetensors")
    (vae,) = run("WanLiteVAELoader", vae_name=f"{DELETED}.safetensors", precision="fp32")
    student = flow(DELETED)
    shutil.rmtree(folder / "wan_students" / DELETED)
    (folder / "vae" / f"{DELETED}.safetensors").unlink()
    inputs = {"positive": text(NAME), "latent_image": {"samples": torch.zeros(1, 16, 1, 4, 4)}, "steps": 2}
    latent, _ = run("WanLiteFlowUniPCSampler", model=student, on_mismatch="ignore", **inputs)
    expected, _ = run("WanLiteFlowUniPCSampler", model=flow(NAME), on_mismatch="ignore", **inputs)
    assert torch.equal(latent["samples"], expected["samples"])
    assert run("WanLiteVAEDecode", samples=latent, vae=vae)[0].isfinite().all()
    video = {"samples": torch.zeros(1, 16, 2, 4, 4)}
    message = raises(ValueError, run, "WanLiteVAEDecode", samples=video, vae=vae)
    assert f"{DELETED}.safetensors" in message and "no such file" in message, message


def check_previews_and_other_models_change_nothing():
    empty = {"samples": torch.zeros(1, 16, 1, 4, 4)}
    students = {name: flow(name) for name in ("student_16ch", "student_4ch")}

    def sample(name):
        inputs = {"positive": text(name), "latent_image": empty, "steps": 3, "on_mismatch": "ignore"}
        return run("WanLiteFlowUniPCSampler", model=students[name], seed=5, **inputs)

    method, wanted = comfy.cli_args.args.preview_method, sample(NAME)
    try:
        for preview in comfy.cli_args.LatentPreviewMethod:
            comfy.cli_args.args.preview_method = preview
            assert same(sample(NAME), wanted), preview
    finally:
        comfy.cli_args.args.preview_method = method
    sample("student_4ch")
    assert same(sample(NAME), wanted)
    management.unload_all_models()
    assert same(sample(NAME), wanted)
