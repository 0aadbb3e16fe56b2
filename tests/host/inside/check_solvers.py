"""The solvers in core's SamplerCustomAdvanced: reference vectors, core's own architectures, splitting, inpainting."""

from __future__ import annotations

import json

import comfy.samplers
import tiny_models
import torch
from safetensors.torch import load_file

from harness import raises, run, submodule, vectors

IMAGE_MODELS = {
    "wan": ((2, 16, 1, 8, 8), None),
    "flux": ((2, 16, 8, 8), 16),
    "sd35": ((2, 16, 8, 8), 16),
    "sdxl": ((2, 4, 8, 8), 1280),
}
SOLVERS = ["WanLiteSolverFlowUniPC", "WanLiteSolverFlowDPMpp", "WanLiteSolverDDIM"]


class FixedNoise:
    """A NOISE that hands out a given tensor."""

    seed = 0

    def __init__(self, noise: torch.Tensor) -> None:
        self.noise = noise

    def generate_noise(self, latent: dict) -> torch.Tensor:
        return self.noise.clone()


def sample(  # noqa: PLR0913
    model, noise, sigmas, sampler, *, cfg=1.0, positive=None, negative=None, latent=None, mask=None
):
    """Through core's CFGGuider and SamplerCustomAdvanced; returns (latent, denoised)."""
    positive = tiny_models.text(scale=0.0) if positive is None else positive
    (guider,) = run(
        "CFGGuider", model=model, positive=positive, negative=positive if negative is None else negative, cfg=cfg
    )
    given = {"samples": torch.zeros_like(noise) if latent is None else latent}
    if mask is not None:
        given["noise_mask"] = mask
    outputs = run(
        "SamplerCustomAdvanced",
        noise=FixedNoise(noise),
        guider=guider,
        sampler=sampler,
        sigmas=sigmas,
        latent_image=given,
    )
    return outputs[0]["samples"], outputs[1]["samples"]


def reference() -> tuple[dict, dict]:
    folder = vectors() / "samplers"
    return load_file(folder / "samplers.safetensors"), json.loads((folder / "samplers.json").read_text())


def flow_formula(shape: torch.Size):
    processes = submodule("nodes.host.model_sampling")
    model = tiny_models.formula("FLOW", channels=shape[1], dimensions=len(shape) - 2)
    return processes.patch_sampling(model, processes.TruncatedFlow())


def epsilon_formula(shape: torch.Size):
    processes = submodule("nodes.host.model_sampling")
    model = tiny_models.formula("EPS", channels=shape[1], dimensions=len(shape) - 2)
    return processes.patch_sampling(model, processes.LinearEpsilon())


def image_sampler(model, name: str, steps: int = 5, cfg: float = 3.0):
    """Sigmas, noise and text for one of core's architectures."""
    shape, pooled = IMAGE_MODELS[name]
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
    texts = {
        "positive": tiny_models.text(pooled=pooled),
        "negative": tiny_models.text(seed=1, pooled=pooled),
        "cfg": cfg,
    }
    return noise, sigmas, texts


# Parity --------------------------------------------------------------------------------------------------------------


def check_unipc_vectors_with_cfg_1_and_3() -> None:
    tensors, described = reference()
    for name, entry in described["combos"].items():
        if not name.startswith("unipc") or name.endswith(("bh1", "bf16", "from3")):
            continue
        extra = entry["extra"]
        inputs = {"order": extra.get("solver_order", 2), "skip_corrector": len(extra.get("disable_corrector", []))}
        (sigmas,) = run("WanLiteFlowSchedule", steps=entry["steps"], shift=entry["shift"])
        (sampler,) = run("WanLiteSolverFlowUniPC", **inputs)
        matches_vector(tensors, name, flow_formula, sigmas, sampler)


def check_dpmpp_vectors_with_cfg_1_and_3() -> None:
    tensors, described = reference()
    for name, entry in described["combos"].items():
        if not name.startswith("dpmpp"):
            continue
        (sigmas,) = run("WanLiteFlowSchedule", steps=entry["steps"], shift=entry["shift"], made_for="FlowDPM++")
        (sampler,) = run("WanLiteSolverFlowDPMpp")
        matches_vector(tensors, name, flow_formula, sigmas, sampler)


def check_ddim_vectors_with_cfg_1_and_3() -> None:
    tensors, described = reference()
    for name, entry in described["combos"].items():
        if name.startswith("ddim"):
            (sigmas,) = run("WanLiteDDIMSchedule", steps=entry["steps"])
            (sampler,) = run("WanLiteSolverDDIM")
            matches_vector(tensors, name, epsilon_formula, sigmas, sampler)


def check_unipc_vector_that_starts_in_the_middle() -> None:
    """Official image to image: the given latent is the latent at the third sigma, and no history comes before it."""
    tensors, described = reference()
    entry = described["combos"]["unipc_10_5.0_from3"]
    (sigmas,) = run("WanLiteFlowSchedule", steps=entry["steps"], shift=entry["shift"])
    sigmas, trajectory = sigmas[entry["start_index"] :], tensors["unipc_10_5.0_from3.traj"]
    start = tensors["x_init"].reshape(trajectory[0].shape)
    latent = start / (1 - sigmas[0])  # the host weighs a picture by 1 - sigma, and there is no noise here
    (sampler,) = run("WanLiteSolverFlowUniPC")
    found, _ = sample(flow_formula(start.shape), torch.zeros_like(start), sigmas, sampler, latent=latent)
    assert float((found - trajectory[-1]).abs().max()) <= 1e-5


def matches_vector(tensors: dict, name: str, build, sigmas: torch.Tensor, sampler) -> None:
    """The final latent within 1e-5 of the largest value of the trajectory, and the very timesteps of training."""
    trajectory = tensors[f"{name}.traj"]
    noise = tensors["x_init"].reshape(trajectory[0].shape)
    for cfg in (1.0, 3.0):
        model = build(noise.shape)
        model.model.diffusion_model.seen.clear()
        found, _ = sample(model, noise, sigmas, sampler, cfg=cfg)
        scale = max(1.0, float(trajectory.abs().max()))  # DDIM reaches 64, where float32 itself steps by 4e-6
        error = float((found - trajectory[-1]).abs().max()) / scale
        assert error <= 1e-5, f"{name}, cfg {cfg}: {error}"
        seen = [int(t[0]) for t in model.model.diffusion_model.seen]
        assert seen == tensors[f"{name}.timesteps"].tolist(), (name, seen)


def check_guidance_is_the_official_formula() -> None:
    """CFG 3 with two different prompts, against v_u + 3 (v_c - v_u) in a plain loop of the library."""
    library, prediction = submodule("samplers.solver"), submodule("samplers.prediction").Prediction.VELOCITY
    unipc = submodule("samplers.solvers").FlowUniPC()
    schedule = submodule("samplers.schedule").flow_schedule(10, shift=5.0)
    noise = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(3))
    positive, negative = tiny_models.text(seed=4), tiny_models.text(seed=5)
    network = tiny_models.FormulaNetwork(dtype=torch.float32)

    def guided(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        cond, uncond = (network(x, timestep, text[0][0].expand(len(x), -1, -1)) for text in (positive, negative))
        return uncond + 3.0 * (cond - uncond)

    expected = library.sample(guided, noise, schedule, unipc, prediction=prediction)
    (sigmas,) = run("WanLiteFlowSchedule", steps=10, shift=5.0)
    (sampler,) = run("WanLiteSolverFlowUniPC")
    found, _ = sample(flow_formula(noise.shape), noise, sigmas, sampler, cfg=3.0, positive=positive, negative=negative)
    assert float((found - expected).abs().max()) <= 1e-5


# Core's own models ---------------------------------------------------------------------------------------------------


def check_every_core_model_runs_with_every_solver() -> None:
    for name in IMAGE_MODELS:
        model = getattr(tiny_models, name)()
        noise, sigmas, texts = image_sampler(model, name)
        for solver in SOLVERS:
            before = sigmas.clone()
            (sampler,) = run(solver)
            found, denoised = sample(model, noise, sigmas, sampler, **texts)
            assert found.shape == noise.shape and torch.isfinite(found).all(), (name, solver)
            assert torch.allclose(found, denoised, atol=1e-4 * float(found.abs().max())), (name, solver)
            assert torch.equal(sigmas, before), f"{solver} wrote into SIGMAS"


def check_v_prediction_and_edm_models_run() -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    for kind in ("V_PREDICTION", "EDM", "V_PREDICTION_EDM"):
        model = tiny_models.formula(kind)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", 6)
        for solver in SOLVERS:
            found, _ = sample(model, noise, sigmas, run(solver)[0])
            assert torch.isfinite(found).all(), (kind, solver)


def check_first_order_equals_cores_euler() -> None:
    """DDIM, and first-order exponential integrators, are Euler's method in the host's convention for both processes."""
    for name in IMAGE_MODELS:
        model = getattr(tiny_models, name)()
        noise, sigmas, texts = image_sampler(model, name)
        expected, _ = sample(model, noise, sigmas, comfy.samplers.sampler_object("euler"), **texts)
        found, _ = sample(model, noise, sigmas, run("WanLiteSolverDDIM")[0], **texts)
        scale = float(expected.abs().max())
        assert float((found - expected).abs().max()) <= 2e-5 * scale, name


def check_unipc_converges_where_euler_does() -> None:
    """On SDXL's process 12 steps of UniPC are nearer to 200 of Euler than 12 of Euler are."""
    model = tiny_models.formula("EPS")
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    table = model.get_model_object("model_sampling")
    fine = comfy.samplers.calculate_sigmas(table, "karras", 200)
    coarse = comfy.samplers.calculate_sigmas(table, "karras", 12)
    euler = comfy.samplers.sampler_object("euler")
    truth, _ = sample(model, noise, fine, euler)
    error = {}
    for name, sampler in {"euler": euler, "unipc": run("WanLiteSolverFlowUniPC")[0]}.items():
        found, _ = sample(model, noise, coarse, sampler)
        error[name] = float((found - truth).abs().max())
    assert error["unipc"] < 0.5 * error["euler"], error


# What the host does with SIGMAS and latents --------------------------------------------------------------------------


def check_split_and_resume_is_one_run_with_ddim() -> None:
    for name in IMAGE_MODELS:
        model = getattr(tiny_models, name)()
        noise, sigmas, texts = image_sampler(model, name, steps=6)
        (sampler,) = run("WanLiteSolverDDIM", on_mismatch="ignore")
        whole, _ = sample(model, noise, sigmas, sampler, **texts)
        high, low = run("SplitSigmas", sigmas=sigmas, step=3)
        first, _ = sample(model, noise, high, sampler, **texts)
        second, _ = sample(model, torch.zeros_like(noise), low, sampler, latent=first, **texts)
        assert float((second - whole).abs().max()) <= 1e-4 * float(whole.abs().max()), name


def check_split_of_a_multistep_solver_is_refused() -> None:
    model = tiny_models.wan()
    noise, sigmas, texts = image_sampler(model, "wan", steps=6)
    high, _ = run("SplitSigmas", sigmas=sigmas, step=3)
    message = raises(ValueError, sample, model, noise, high, run("WanLiteSolverFlowUniPC")[0], **texts)
    assert f"{float(high[-1]):.4g}" in message and "history" in message, message


def check_image_to_image_starts_from_the_picture() -> None:
    """With little noise the picture comes back near to itself; with a denoiser that returns it, exactly."""
    for name in IMAGE_MODELS:
        model = getattr(tiny_models, name)()
        noise, sigmas, texts = image_sampler(model, name, steps=20)
        picture = torch.randn(noise.shape, generator=torch.Generator().manual_seed(9))
        for solver in SOLVERS:
            found, _ = sample(model, noise, sigmas[-3:], run(solver)[0], latent=picture, **texts)
            moved = float((found - picture).std())
            fresh, _ = sample(model, noise, sigmas, run(solver)[0], latent=picture, **texts)
            assert moved < float((fresh - picture).std()), (name, solver)


def check_inpainting_keeps_what_is_masked_out() -> None:
    for name in IMAGE_MODELS:
        model = getattr(tiny_models, name)()
        noise, sigmas, texts = image_sampler(model, name)
        picture = torch.randn(noise.shape, generator=torch.Generator().manual_seed(9))
        mask = torch.zeros(1, 1, 8, 8)
        mask[..., 4:] = 1.0
        for solver in SOLVERS:
            found, _ = sample(model, noise, sigmas, run(solver)[0], latent=picture, mask=mask, **texts)
            assert torch.allclose(found[..., :4], picture[..., :4], atol=1e-5), (name, solver)
            assert float((found[..., 4:] - picture[..., 4:]).abs().max()) > 0.1, (name, solver)


def check_a_batch_is_its_items() -> None:
    """Picture i of a batch is the picture of seed + i alone, also with fresh noise at every step."""
    model = flow_formula(torch.Size((3, 4, 6, 5)))
    (sigmas,) = run("WanLiteFlowSchedule", steps=6, shift=3.0)
    for solver, inputs in (("WanLiteSolverFlowUniPC", {}), ("WanLiteSolverDDIM", {"eta": 1.0})):
        (sampler,) = run(solver, **inputs)
        (guider,) = run("BasicGuider", model=model, conditioning=tiny_models.text())

        def paint(seed: int, count: int, sampler=sampler, guider=guider) -> torch.Tensor:
            (noise,) = run("WanLiteNoise", noise_seed=seed)
            latent = {"samples": torch.zeros(count, 4, 6, 5)}
            outputs = run(
                "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent
            )
            return outputs[0]["samples"]

        batch = paint(40, 3)
        for item in range(3):
            assert torch.equal(batch[item], paint(40 + item, 1)[0]), (solver, item)


def check_options_that_are_off_change_no_bit() -> None:
    noise = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(2))
    model = flow_formula(noise.shape)
    (sigmas,) = run("WanLiteFlowSchedule", steps=8, shift=5.0)
    plain, _ = sample(model, noise, sigmas, run("WanLiteSolverDDIM")[0])
    off = {
        "eta": 0.0, "clip_x0": 0.0, "s_noise": 3.0, "s_churn": 0.0, "s_tmin": 0.1, "s_tmax": 0.5,
    }  # fmt: skip
    assert torch.equal(plain, sample(model, noise, sigmas, run("WanLiteSolverDDIM", **off)[0])[0])
    outside = {"s_churn": 5.0, "s_tmin": 2.0}
    assert torch.equal(plain, sample(model, noise, sigmas, run("WanLiteSolverDDIM", **outside)[0])[0])
    unipc, _ = sample(model, noise, sigmas, run("WanLiteSolverFlowUniPC")[0])
    off = {"skip_corrector": 0}
    assert torch.equal(unipc, sample(model, noise, sigmas, run("WanLiteSolverFlowUniPC", **off)[0])[0])


def check_options_that_are_on_do_something() -> None:
    noise = 3.0 * torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(2))
    model = flow_formula(noise.shape)
    (sigmas,) = run("WanLiteFlowSchedule", steps=8, shift=5.0)
    (plain_sampler,) = run("WanLiteSolverDDIM")
    plain, _ = sample(model, noise, sigmas, plain_sampler)
    for option in ({"eta": 0.5}, {"clip_x0": 0.5}, {"s_churn": 4.0}):
        found, _ = sample(model, noise, sigmas, run("WanLiteSolverDDIM", **option)[0])
        assert not torch.equal(found, plain), option
        again, _ = sample(model, noise, sigmas, run("WanLiteSolverDDIM", **option)[0])
        assert torch.equal(found, again), f"{option} is not repeatable"
    for one, other in (
        ({"eta": 1.0}, {"eta": 1.0, "s_noise": 0.5}),
        ({"s_churn": 4.0}, {"s_churn": 4.0, "s_tmin": 0.6}),
        ({"s_churn": 4.0}, {"s_churn": 4.0, "s_tmax": 0.6}),
    ):
        first, second = (sample(model, noise, sigmas, run("WanLiteSolverDDIM", **o)[0])[0] for o in (one, other))
        assert not torch.equal(first, second), other
    clipped, _ = sample(model, noise, sigmas, run("WanLiteSolverDDIM", clip_x0=0.5)[0])
    assert float(clipped.abs().max()) <= 0.5
    unipc, _ = sample(model, noise, sigmas, run("WanLiteSolverFlowUniPC")[0])
    for option in ({"order": 1}, {"order": 3}, {"kind": "bh1"}, {"skip_corrector": 3}):
        assert not torch.equal(unipc, sample(model, noise, sigmas, run("WanLiteSolverFlowUniPC", **option)[0])[0]), (
            option
        )


def check_fresh_noise_follows_the_seed_on_every_process() -> None:
    """Eta 1 (DDPM) on a flow model and on SDXL: repeatable, and another seed is another picture."""
    for name in ("wan", "sdxl"):
        model = getattr(tiny_models, name)()
        noise, sigmas, texts = image_sampler(model, name)
        (sampler,) = run("WanLiteSolverDDIM", eta=1.0)

        def paint(seed: int, model=model, noise=noise, sigmas=sigmas, sampler=sampler, texts=texts) -> torch.Tensor:
            guider = comfy.samplers.CFGGuider(model)
            guider.set_conds(texts["positive"], texts["negative"])
            with torch.inference_mode():
                return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, seed=seed, disable_pbar=True)

        assert torch.equal(paint(1), paint(1)) and not torch.equal(paint(1), paint(2)), name
        assert torch.isfinite(paint(1)).all(), name


def check_nothing_that_came_in_is_written_to() -> None:
    noise = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(2))
    picture, mask = torch.randn_like(noise), torch.ones(1, 1, 6, 5)
    model = flow_formula(noise.shape)
    (sigmas,) = run("WanLiteFlowSchedule", steps=4, shift=5.0)
    given = {"noise": noise, "latent": picture, "mask": mask, "sigmas": sigmas}
    copies = {key: value.clone() for key, value in given.items()}
    for solver in SOLVERS:
        sample(model, given["noise"], sigmas, run(solver)[0], latent=picture, mask=mask)
        for key, value in given.items():
            assert torch.equal(value, copies[key]), (solver, key)


def check_previews_and_step_numbers_reach_the_host() -> None:
    adapter = submodule("nodes.host.solver_adapter")
    noise = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(2))
    model = flow_formula(noise.shape)
    (sigmas,) = run("WanLiteFlowSchedule", steps=4, shift=5.0)
    seen = []
    (guider,) = run("BasicGuider", model=model, conditioning=tiny_models.text())
    sampler = adapter.make_sampler(adapter.SolverRun(submodule("samplers.solvers").DDIM()))
    with torch.inference_mode():
        guider.sample(
            noise, torch.zeros_like(noise), sampler, sigmas,
            callback=lambda step, x0, x, total: seen.append((step, tuple(x0.shape), tuple(x.shape), total)),
        )  # fmt: skip
    assert seen == [(step, (1, 4, 6, 5), (1, 4, 6, 5), 4) for step in range(4)]


def check_the_samplers_in_one_node_are_core_with_our_solver_on_every_kind_of_model() -> None:
    """Epsilon and v models too, whose noise at the first sigma is far larger than 1."""
    for kind in ("FLOW", "EPS", "V_PREDICTION"):
        model, empty = tiny_models.formula(kind), {"samples": torch.zeros(1, 4, 6, 5)}
        node_id, solver = ("WanLiteDDIMSampler", "WanLiteSolverDDIM")
        schedule = {"node_id": "WanLiteDDIMSchedule", "model": model}
        if kind == "FLOW":
            node_id, solver = ("WanLiteFlowUniPCSampler", "WanLiteSolverFlowUniPC")
            schedule = {"node_id": "WanLiteFlowSchedule"}
        text = tiny_models.text(scale=0.0)
        found = run(node_id, model=model, positive=text, latent_image=empty, seed=3, steps=6, shift=1.0)[0]["samples"]
        (sigmas,), (sampler,) = run(**schedule, steps=6, shift=1.0), run(solver)
        noise = run("WanLiteNoise", noise_seed=3)[0].generate_noise(empty)
        expected, _ = sample(model, noise, sigmas, sampler)
        assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max()), kind
