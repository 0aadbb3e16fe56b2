"""What a tiny network is really fed by core's samplers, against what the check predicts from the same numbers."""

from __future__ import annotations

from typing import Any

import tiny_models
import torch

from harness import run, submodule

SHIFT = 5.0
STEPS = (1, 4, 7)
ADVANCED = [(0, 2, "enable"), (0, 2, "disable"), (2, 10000, "disable"), (1, 3, "enable")]
KSAMPLERS = [
    ("euler", "simple", 1.0), ("lcm", "normal", 1.0), ("uni_pc", "simple", 1.0), ("res_multistep", "beta", 1.0),
    ("dpmpp_2m", "sgm_uniform", 1.0), ("euler", "ddim_uniform", 1.0), ("euler", "simple", 0.5),
    ("uni_pc", "linear_quadratic", 0.6), ("ddim", "karras", 1.0),
]  # fmt: skip


def network() -> tuple[Any, list[torch.Tensor]]:
    """A flow MODEL with a shift, and the list of all that its network is fed."""
    model = tiny_models.formula("FLOW")
    (patched,) = run("ModelSamplingSD3", model=model, shift=SHIFT)
    return patched, model.model.diffusion_model.seen


def latent() -> dict[str, torch.Tensor]:
    return {"samples": torch.zeros(1, 4, 8, 8)}


def predict(sampler: dict[str, Any], **others: dict[str, Any]) -> list[float]:
    graph = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "wan2.1_t2v_1.3B.safetensors"}},
        "2": {"class_type": "ModelSamplingSD3", "inputs": {"model": ["1", 0], "shift": SHIFT}},
        "3": sampler, **others,
    }  # fmt: skip
    (report,) = submodule("check").check_graph(graph).samplers
    return list(report.timesteps)


def agree(seen: list[torch.Tensor], predicted: list[float], case: object) -> None:
    fed = [float(timestep[0]) for timestep in seen]
    assert len(fed) == len(predicted), (case, fed, predicted)
    assert all(abs(a - b) <= 1e-3 for a, b in zip(fed, predicted, strict=True)), (case, fed, predicted)


def check_ksampler() -> None:
    for name, scheduler, denoise in KSAMPLERS:
        for steps in STEPS:
            model, seen = network()
            values = {"seed": 1, "steps": steps, "cfg": 1.0, "sampler_name": name, "scheduler": scheduler}
            values["denoise"] = denoise
            text = tiny_models.text()
            run("KSampler", model=model, positive=text, negative=text, latent_image=latent(), **values)
            node = {"class_type": "KSampler", "inputs": {"model": ["2", 0], **values}}
            agree(seen, predict(node), (name, scheduler, denoise, steps))


def check_ksampler_advanced() -> None:
    for start, end, leftover in ADVANCED:
        model, seen = network()
        values = {
            "add_noise": "enable", "noise_seed": 1, "steps": 4, "cfg": 1.0, "sampler_name": "euler",
            "scheduler": "simple", "start_at_step": start, "end_at_step": end, "return_with_leftover_noise": leftover,
        }  # fmt: skip
        text = tiny_models.text()
        run("KSamplerAdvanced", model=model, positive=text, negative=text, latent_image=latent(), **values)
        node = {"class_type": "KSamplerAdvanced", "inputs": {"model": ["2", 0], **values}}
        agree(seen, predict(node), (start, end, leftover))


def sigma_nodes() -> list[tuple[dict[str, Any], ...]]:
    """Chains of nodes that make SIGMAS; the sampler takes the last one's output."""
    basic = {"class_type": "BasicScheduler", "inputs": {"model": ["2", 0], "scheduler": "simple", "steps": 6}}
    basic["inputs"]["denoise"] = 1.0
    beta = {"class_type": "BetaSamplingScheduler", "inputs": {"model": ["2", 0], "steps": 5, "alpha": 0.5, "beta": 0.7}}
    manual = {"class_type": "ManualSigmas", "inputs": {"sigmas": "1, 0.756757, 0.521739, 0"}}
    split = {"class_type": "SplitSigmas", "inputs": {"sigmas": ["10", 0], "step": 2}}
    part = {"class_type": "SplitSigmasDenoise", "inputs": {"sigmas": ["10", 0], "denoise": 0.5}}
    return [(basic,), (beta,), (manual,), (basic, split), (basic, part)]


def make_sigmas(chain: tuple[dict[str, Any], ...], model: Any) -> torch.Tensor:
    made = None
    for node in chain:
        given = {name: value for name, value in node["inputs"].items() if not isinstance(value, list)}
        links = {name for name, value in node["inputs"].items() if isinstance(value, list)}
        given |= {"model": model} if "model" in links else {}
        given |= {"sigmas": made} if "sigmas" in links else {}
        made = run(node["class_type"], **given)[0]
    assert isinstance(made, torch.Tensor)
    return made


def check_custom_samplers() -> None:
    for chain in sigma_nodes():
        for kind in ("SamplerCustom", "SamplerCustomAdvanced"):
            model, seen = network()
            sigmas, (sampler,) = make_sigmas(chain, model), run("KSamplerSelect", sampler_name="euler")
            (guider,), (noise,) = run("BasicGuider", model=model, conditioning=tiny_models.text()), run("RandomNoise")
            text = tiny_models.text()
            if kind == "SamplerCustom":
                own = {"model": model, "positive": text, "negative": text, "cfg": 1.0, "add_noise": True}
                run(kind, sampler=sampler, sigmas=sigmas, latent_image=latent(), noise_seed=1, **own)
            else:
                run(kind, noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent())
            numbered = {str(10 + index): node for index, node in enumerate(chain)}
            links = {"sampler": ["5", 0], "sigmas": [str(9 + len(chain)), 0]}
            links |= {"model": ["2", 0]} if kind == "SamplerCustom" else {"guider": ["6", 0]}
            others = {
                "5": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
                "6": {"class_type": "BasicGuider", "inputs": {"model": ["2", 0]}},
            }
            predicted = predict({"class_type": kind, "inputs": links}, **others, **numbered)
            agree(seen, predicted, (kind, [node["class_type"] for node in chain]))


def check_families_have_cores_own_settings() -> None:
    import comfy.supported_models as core

    newer = {"WAN_Animate2", "WAN21_CausalAR_T2V", "Krea2", "JoyImage", "MiniMaxH3"}  # than the oldest supported host
    for family in submodule("check.trace.families").FAMILIES:
        if family.core in newer and not hasattr(core, family.core):
            continue
        settings = getattr(core, family.core).sampling_settings
        kind = type(family.sampling).__name__
        if kind == "DiscreteFlow":
            assert family.sampling.shift == settings.get("shift", 1.0), family.id
            assert family.sampling.multiplier == settings.get("multiplier", 1000), family.id
        elif kind == "FluxFlow":
            assert family.sampling.mu == settings.get("shift", 1.15), family.id
