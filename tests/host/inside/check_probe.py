"""The probe inside the host: the right reading of a network comes out first, and the MODEL stays as it was."""

from __future__ import annotations

import comfy.latent_formats
import tiny_models
import torch

from harness import raises, run, submodule

EPSILON, VELOCITY = "ddim-20 run_inference", "flow_unipc-20 shift 5"
BLOCK = 4


class IdealNetwork(torch.nn.Module):
    """The best possible network for latents of unit variance, flat on blocks of 4 x 4, that puts out one reading."""

    def __init__(self, reading: str) -> None:
        super().__init__()
        self.reading, self.dtype = reading, torch.float32

    def forward(self, x, timestep, context=None, **_):
        share = timestep.reshape(-1, *[1] * (x.ndim - 1)) / 1000.0
        if self.reading == "epsilon":
            signal = (1.0 - share).clamp(1e-3, 1.0 - 1e-3)
            alpha, sigma = signal.sqrt(), (1.0 - signal).sqrt()
        else:
            alpha, sigma = 1.0 - share, share.clamp_min(1e-4)
        frames = x.flatten(0, 1).reshape(-1, 1, *x.shape[-2:])
        mean = torch.nn.functional.avg_pool2d(frames, BLOCK).repeat_interleave(BLOCK, -1).repeat_interleave(BLOCK, -2)
        x0 = alpha * mean.reshape(x.shape) / (alpha**2 + sigma**2 / BLOCK**2)
        noise = (x - alpha * x0) / sigma
        return noise if self.reading == "epsilon" else noise - x0


def ideal(reading: str):
    """A MODEL of 16 channels in Wan's latent format."""
    model = tiny_models.formula(channels=16, dimensions=3)
    model.model.diffusion_model = IdealNetwork(reading)
    model.model.latent_format = comfy.latent_formats.Wan21()
    return model


def probed(model, **inputs):
    (vae,) = run("WanLiteVAELoader", vae_name="wan21_tiny.safetensors")
    given = {"latent": {"samples": torch.zeros(1, 16, 1, 16, 16)}, "cell": 64, "positive": tiny_models.text()} | inputs
    return run("WanLiteSamplingProbe", model=model, vae=vae, **given)


def check_the_right_reading_comes_first() -> None:
    for reading, solver in (("epsilon", "ddim"), ("velocity", "flow_unipc")):
        grid, chart, report, best = probed(ideal(reading))
        assert best.prediction == reading and best.solver == solver and best.source == "assumed", report
        assert reading in report.splitlines()[0] and len(report.splitlines()) == 5, report
        for image in (grid, chart):
            assert image.ndim == 4 and image.shape[-1] == 3 and 0.0 <= float(image.min()) < float(image.max()) <= 1.0


def check_the_best_contract_samples() -> None:
    model = ideal("velocity")
    *_, best = probed(model)
    patched, _, sigmas = run("WanLiteContractSampling", model=model, contract=best)
    assert len(sigmas) == best.steps + 1
    assert submodule("nodes.host.checks").get_contract(patched) == best


def check_a_student_is_probed_at_its_own_size() -> None:
    for name in ("student_16ch", "student_4ch"):
        model, contract = run("WanLiteStudentLoader", student_name=name)
        before = model.get_model_object("model_sampling")
        text, names = tiny_models.text(width=24), f"{EPSILON}\n{VELOCITY}"
        _, _, report, best = probed(model, positive=text, latent=None, candidates=names, pictures=1)
        assert len(report.splitlines()) == 3, report
        assert best.latent == contract.latent and best.output_projection == contract.output_projection
        assert model.get_model_object("model_sampling") is before, "the MODEL must stay as it was"


def check_the_network_sees_what_the_librarys_probe_feeds_it() -> None:
    """The report of the host is the library's own, number for number."""
    library = submodule("pipeline.probing")
    network = IdealNetwork("velocity")
    presets = submodule("samplers.contract").PRESETS
    expected = library.probe(lambda x, t: network(x, t.float()), presets, (4, 16, 16, 16), seed=3)
    _, _, report, _ = probed(ideal("velocity"), seed=3)
    assert report == str(expected)


def check_the_demo_students_own_contracts_come_first() -> None:
    """For both demo students the probe names the reading that they were trained with."""
    for name in ("wan-lite-demo/student_ddim.safetensors", "wan-lite-demo/student_flow.safetensors"):
        model, contract = run("WanLiteStudentLoader", student_name=name)
        (text,) = run("WanLiteTextEmbedsLoad", name="wan-lite-demo/captions.safetensors", index=0)
        (vae,) = run("WanLiteVAELoader", vae_name="wan-lite-demo/vae.safetensors")
        *_, report, best = run("WanLiteSamplingProbe", model=model, positive=text, vae=vae, cell=64)
        assert best.prediction == contract.prediction and best.solver == contract.solver, report


def check_bad_candidates_are_named() -> None:
    message = raises(ValueError, probed, ideal("epsilon"), candidates="ddim-99")
    assert "'ddim-99'" in message and EPSILON in message
    assert "nothing to try" in raises(ValueError, probed, ideal("epsilon"), candidates=" ")
    assert "connect an empty LATENT" in raises(ValueError, probed, ideal("epsilon"), latent=None)
