"""Mismatches: what cannot give an image is refused with both values and the remedy, or said, or let pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.samplers
import tiny_models
import torch
from check_solvers import sample
from heard import Heard

from harness import raises, run, submodule

SHAPE = (1, 4, 1, 6, 5)
PRESET = {"ddim": "ddim-20 run_inference", "flow": "flow_unipc-20 shift 5"}
SOLVER = {"ddim": "WanLiteSolverDDIM", "flow": "WanLiteSolverFlowUniPC"}
ALL_IN_ONE = {"ddim": ("WanLiteDDIMSampler", 1.0), "flow": ("WanLiteFlowUniPCSampler", 5.0)}
REFUSAL = "contract says"


def noise() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def apply_preset(kind: str):
    """(MODEL, SAMPLER, SIGMAS) of a preset, on a network that is a formula."""
    return run("WanLiteContractSampling", model=tiny_models.formula(dimensions=3), contract=declare(kind))


def declare(kind: str) -> Any:
    """A preset as a checkpoint declares it; what was only assumed may be changed."""
    return replace(submodule("samplers.contract").PRESETS[PRESET[kind]], source="declared")


def expect_refusal(on_mismatch: str, fits: bool, call: Any) -> None:
    """Call and see that a mismatch is refused, said or let pass as asked; what fits always passes in silence."""
    with Heard() as heard:
        if on_mismatch == "error" and not fits:
            message = raises(ValueError, call)
            assert REFUSAL in message, message
        else:
            assert torch.isfinite(call()).all()
    said = any(REFUSAL in line for line in heard.lines)
    assert said == (on_mismatch == "warn" and not fits), heard.lines


def check_matrix_of_contracts_and_solvers() -> None:
    """{contract ddim, flow} x {SAMPLER and SIGMAS ddim, flow} x {on_mismatch}, in SamplerCustomAdvanced."""
    for declared in PRESET:
        model, _, _ = apply_preset(declared)
        _, _, sigmas = apply_preset(declared)
        for used in SOLVER:
            for on_mismatch in ("error", "warn", "ignore"):
                (sampler,) = run(SOLVER[used], on_mismatch=on_mismatch)
                expect_refusal(
                    on_mismatch, declared == used,
                    lambda model=model, sigmas=sigmas, sampler=sampler: sample(model, noise(), sigmas, sampler)[0],
                )  # fmt: skip


def check_matrix_of_contracts_and_samplers_in_one_node() -> None:
    for declared in PRESET:
        model, _, _ = apply_preset(declared)
        for used, (node_id, shift) in ALL_IN_ONE.items():
            for on_mismatch in ("error", "warn", "ignore"):

                def sample_once(model=model, node_id=node_id, shift=shift, on_mismatch=on_mismatch) -> torch.Tensor:
                    return run(
                        node_id, model=model, positive=tiny_models.text(), latent_image={"samples": torch.zeros(SHAPE)},
                        seed=0, steps=4, cfg=1.0, shift=shift, denoise=1.0, on_mismatch=on_mismatch,
                    )[0]["samples"]  # fmt: skip

                expect_refusal(on_mismatch, declared == used, sample_once)


def check_the_message_names_both_solvers_and_the_remedy() -> None:
    model, _, sigmas = apply_preset("ddim")
    message = raises(ValueError, sample, model, noise(), sigmas, run(SOLVER["flow"])[0])
    assert "ddim" in message and "flow_unipc" in message and "Wan Lite Contract Sampling" in message, message


def check_contract_sampling_fits_itself() -> None:
    for kind in PRESET:
        model, sampler, sigmas = apply_preset(kind)
        found, _ = sample(model, noise(), sigmas, sampler)
        assert torch.isfinite(found).all()
        assert len(sigmas) == 21
        assert submodule("nodes.host.checks").get_contract(model).solver.startswith(kind)


def check_contract_sampling_takes_overrides_and_the_models_own_contract() -> None:
    model, _, _ = apply_preset("flow")
    _, _, sigmas = run("WanLiteContractSampling", model=model, steps=7, shift=3.0)
    (expected,) = run("WanLiteFlowSchedule", steps=7, shift=3.0)
    assert torch.equal(sigmas, expected)
    message = raises(ValueError, run, "WanLiteContractSampling", model=tiny_models.wan())
    assert "WanLiteMakeContract" in message
    other = declare("ddim")
    assert REFUSAL in raises(ValueError, run, "WanLiteContractSampling", model=model, contract=other)
    assumed, _, _ = run(
        "WanLiteContractSampling",
        model=tiny_models.formula(dimensions=3),
        contract=replace(declare("flow"), source="assumed"),
    )
    with Heard() as heard:
        _, _, sigmas = run("WanLiteContractSampling", model=assumed, contract=other)
    assert float(sigmas[0]) > 31.0, "an assumed contract gives way to a connected one"
    assert [line for line in heard.lines if "only assumed" in line and "solver ddim instead of flow_unipc" in line]


def check_what_was_only_assumed_may_be_changed_with_a_line_in_the_log() -> None:
    """In both kinds of nodes: the sampler in one node, and a solver in core's sampler."""
    assumed = replace(declare("flow"), source="assumed")
    model, _, _ = run("WanLiteContractSampling", model=tiny_models.formula(dimensions=3), contract=assumed)
    given = {"model": model, "positive": tiny_models.text(), "latent_image": {"samples": torch.zeros(SHAPE)}}
    with Heard() as heard:
        assert torch.isfinite(run("WanLiteFlowUniPCSampler", **given, steps=4, shift=3.0)[0]["samples"]).all()
    assert [line for line in heard.lines if "only assumed" in line and "shift 3.0 instead of 5.0" in line], heard.lines
    (sigmas,), (sampler,) = run("WanLiteFlowSchedule", steps=8, shift=7.0), run("WanLiteSolverFlowDPMpp")
    with Heard() as heard:
        assert torch.isfinite(sample(model, noise(), sigmas, sampler)[0]).all()
    assert [line for line in heard.lines if "only assumed" in line and "solver flow_dpmpp" in line], heard.lines


def check_contract_sampling_is_the_librarys_run() -> None:
    """Each preset through the host against the library's own loop; the network is fed the timesteps of training."""
    solver, predictions = submodule("samplers.solver"), submodule("samplers.prediction").Prediction
    network = tiny_models.FormulaNetwork(dtype=torch.float32)
    text = tiny_models.text(scale=0.0)[0][0]
    for contract in submodule("samplers.contract").PRESETS.values():
        model, sampler, sigmas = run(
            "WanLiteContractSampling", model=tiny_models.formula(dimensions=3), contract=contract
        )
        found, _ = sample(model, noise(), sigmas, sampler)
        expected = solver.sample(
            lambda x, t: network(x, t, text), noise(), contract.schedule(), contract.make_solver(),
            prediction=predictions(contract.prediction),
        )  # fmt: skip
        scale = max(1.0, float(expected.abs().max()))
        assert float((found - expected).abs().max()) <= 1e-5 * scale, contract
        seen = [int(t[0]) for t in model.model.diffusion_model.seen]
        assert seen == contract.schedule().timesteps.tolist(), contract


def check_double_shift_names_both_values() -> None:
    (sigmas,) = run("WanLiteFlowSchedule", steps=8, shift=5.0)
    for kind in ("wan", "sd35"):
        (shifted,) = run("ModelSamplingSD3", model=getattr(tiny_models, kind)(), shift=8.0)
        message = call_check("check_sigmas_shift", shifted, sigmas)
        assert "shift 8" in message and "shift 5" in message and "shift 40" in message and "Remove" in message, message
    (flux,) = run(
        "ModelSamplingFlux", model=tiny_models.flux(), max_shift=1.15, base_shift=0.5, width=1024, height=1024
    )
    assert "3.158 (= e^1.15)" in call_check("check_sigmas_shift", flux, sigmas)
    model = tiny_models.wan()
    (shifted,) = run("ModelSamplingSD3", model=model, shift=8.0)
    picture = torch.randn(1, 16, 1, 8, 8)
    assert "shift 8" in raises(ValueError, sample, shifted, picture, sigmas, run(SOLVER["flow"])[0])


def check_one_shift_said_twice_is_no_double_shift() -> None:
    (shifted,) = run("ModelSamplingSD3", model=tiny_models.wan(), shift=5.0)
    (sigmas,) = run("WanLiteFlowSchedule", steps=8, shift=5.0)
    assert call_check("check_sigmas_shift", shifted, sigmas) is None
    from_model = comfy.samplers.calculate_sigmas(shifted.get_model_object("model_sampling"), "simple", 8)
    assert call_check("check_sigmas_shift", shifted, from_model) is None
    (neutral,) = run("ModelSamplingSD3", model=tiny_models.wan(), shift=1.0)
    assert call_check("check_sigmas_shift", neutral, sigmas) is None
    assert call_check("check_sigmas_shift", tiny_models.wan(), sigmas) is None, (
        "an architecture's own shift is no patch"
    )
    karras = comfy.samplers.calculate_sigmas(shifted.get_model_object("model_sampling"), "beta", 8)
    found = submodule("samplers.schedule").infer_shift(karras)
    assert found is None, "SIGMAS that are not evenly spaced have no shift to read"


def check_the_shift_is_read_back_from_sigmas() -> None:
    for steps in (3, 4, 10, 20, 40, 200):
        for shift in (0.5, 1.0, 3.0, 5.0, 8.0, 12.0):
            for denoise in (1.0, 0.6):
                (sigmas,) = run("WanLiteFlowSchedule", steps=steps, shift=shift, denoise=denoise)
                found = submodule("samplers.schedule").infer_shift(sigmas)
                assert found is not None and abs(found / shift - 1.0) < 1e-3, (steps, shift, denoise, found)


def check_sigmas_of_the_wrong_process_are_refused() -> None:
    (ddim,) = run("WanLiteDDIMSchedule", steps=8)
    (flow,) = run("WanLiteFlowSchedule", steps=8)
    wan, sdxl = tiny_models.wan(), tiny_models.sdxl()
    message = raises(ValueError, sample, wan, torch.randn(1, 16, 1, 8, 8), ddim, run(SOLVER["ddim"])[0])
    assert "31.61" in message and "WanLiteFlowSchedule" in message, message
    pixels, text = torch.randn(1, 4, 8, 8), tiny_models.text(pooled=1280)
    (sampler,) = run(SOLVER["flow"])
    message = raises(ValueError, sample, sdxl, pixels, flow, sampler, positive=text)
    assert "0.9998" in message and "14.61" in message and "WanLiteDDIMSchedule" in message, message
    found, _ = sample(sdxl, pixels, flow, sampler, positive=text, latent=torch.randn(1, 4, 8, 8))
    assert torch.isfinite(found).all(), "a picture as latent at sigma 0.9998 is ordinary image to image"


def check_one_node_samplers_refuse_the_other_process() -> None:
    latent, text = {"samples": torch.zeros(1, 4, 8, 8)}, tiny_models.text(pooled=1280)
    message = raises(
        ValueError,
        run,
        "WanLiteFlowUniPCSampler",
        model=tiny_models.sdxl(),
        positive=text,
        latent_image=latent,
        steps=4,
    )
    assert "flow process" in message and "ModelSamplingDiscrete + EPS" in message, message
    assert "WanLiteDDIM" in message, message


def check_leftover_noise_is_said() -> None:
    (sigmas,) = run("WanLiteFlowSchedule", steps=8)
    cut = sigmas[:5]
    for name, word in (("ddim", "second sampler"), ("flow", "history")):
        message = raises(ValueError, sample, tiny_models.wan(), torch.randn(1, 16, 1, 8, 8), cut, run(SOLVER[name])[0])
        assert f"{float(cut[-1]):.4g}" in message and word in message, message
        (sampler,) = run(SOLVER[name], on_mismatch="ignore")
        found, _ = sample(tiny_models.wan(), torch.randn(1, 16, 1, 8, 8), cut, sampler)
        assert torch.isfinite(found).all()


def check_a_model_of_few_fixed_steps_refuses_other_timesteps() -> None:
    assumed = submodule("samplers.contract").SamplingContract("flow_unipc", "velocity", steps=4, shift=5.0)
    contract = replace(assumed, source="declared")
    model, sampler, sigmas = run("WanLiteContractSampling", model=tiny_models.formula(dimensions=3), contract=contract)
    assert torch.isfinite(sample(model, noise(), sigmas, sampler)[0]).all()
    lightning = torch.tensor([1.0, 0.9375, 0.8333, 0.625, 0.0])
    assert torch.isfinite(sample(model, noise(), lightning, sampler)[0]).all()
    (ddim,) = run("WanLiteDDIMSchedule", steps=10, model=model)
    (solver,) = run(SOLVER["ddim"])
    message = raises(ValueError, sample, model, noise(), ddim, solver)
    assert "distilled to 4 steps" in message and "937" in message and "888" in message, message
    model, _, _ = run("WanLiteContractSampling", model=tiny_models.formula(dimensions=3), contract=assumed)
    with Heard() as heard:
        assert torch.isfinite(sample(model, noise(), ddim, solver)[0]).all()
    assert [line for line in heard.lines if "only assumed" in line and "timesteps [999, 888" in line], heard.lines


def call_check(name: str, *arguments: Any) -> Any:
    return getattr(submodule("nodes.host.checks"), name)(*arguments)
