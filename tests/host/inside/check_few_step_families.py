"""Few-step students beside text to video with Wan: image to video, Qwen-Image, and those that step by UniPC."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tiny_models
import torch
from check_contracts import FAMILIES, contract_of, noise, official, same, sample, watch

from harness import run, submodule

Network = Callable[..., torch.Tensor]
RCM_I2V = {
    "update": "renoise",
    "sigmas": [math.tan(angle) / (1 + math.tan(angle)) for angle in (math.atan(200), 1.5, 1.4, 1.0)] + [0.0],
    "fed": [996.0, 932.0, 852.0, 608.0],
}
"""rCM for image to video, by its formula: NVlabs/rcm at 5b41aa9, rcm/inference; sigma_max 200."""


def with_image(text: list, start: torch.Tensor) -> list:
    """The conditioning of WanImageToVideo: the first frame's latents, and a mask that is 0 where they are given."""
    generator = torch.Generator().manual_seed(9)
    image = torch.randn(1, 16, *start.shape[2:], generator=generator)
    mask = torch.ones(1, 1, *start.shape[2:])
    mask[:, :, :1] = 0
    return [[text[0][0], {**text[0][1], "concat_latent_image": image, "concat_mask": mask}]]


def seeing(model: Any, text: list, start: torch.Tensor) -> Network:
    """The network of image to video as its own code calls it: mask and image beside the latents."""
    image = model.model.concat_cond(noise=start, device=start.device, **text[0][1])

    def network(x: torch.Tensor, timestep: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return model.model.diffusion_model(torch.cat([x, image.expand(len(x), -1, -1, -1, -1)], 1), timestep, context)

    return network


def follow(model: Any, student: str, text: list, start: torch.Tensor, **contract: Any) -> torch.Tensor:
    patched, sampler, sigmas = run("WanLiteContractSampling", model=model, contract=contract_of(student), **contract)
    (guider,) = run("BasicGuider", model=patched, conditioning=text)
    return sample(guider, sampler, sigmas, start)


def check_image_to_video_is_the_official_loop() -> None:
    for sees_image in (True, False):
        for number, family in enumerate(("lightx2v_wan21_4_lcm_2025_07", "lightx2v_wan21_4_since_2025_11")):
            model, start = tiny_models.wan_i2v(seed=1, sees_image=sees_image), noise()
            text = with_image(tiny_models.text(seed=3), start)
            seen = watch(model)
            found = follow(model, "lightx2v-wan2.1", text, start, alternative=number)
            assert [round(timestep, 3) for timestep in seen] == [1000.0, 937.5, 833.333, 625.0], seen
            with torch.inference_mode():
                expected = official([seeing(model, text, start)] * 4, FAMILIES[family], start, text)
            same(found, model.model.latent_format.process_out(expected), f"{family}, {sees_image}")


def check_two_experts_of_image_to_video() -> None:
    for student, family, split in (
        ("wan2.2-lightning-i2v", FAMILIES["wan22_lightning_4"], [[1000.0, 937.5], [833.333, 625.0]]),
        ("rcm-i2v", RCM_I2V, [[996.0, 932.0], [852.0, 608.0]]),
    ):
        start = noise()
        text = with_image(tiny_models.text(seed=3), start)
        high, low = (tiny_models.wan_i2v(seed=seed, sees_image=False) for seed in (1, 2))
        patched, sampler, sigmas = run("WanLiteContractSampling", model=high, contract=contract_of(student))
        (guider,) = run(
            "WanLiteExpertsGuider", model_high_noise=patched, model_low_noise=low, positive=text, negative=text
        )
        seen = watch(high), watch(low)
        found = sample(guider, sampler, sigmas, start)
        assert [[round(timestep, 3) for timestep in one] for one in seen] == split, (student, seen)
        networks = [seeing(high, text, start)] * 2 + [seeing(low, text, start)] * 2
        with torch.inference_mode():
            expected = official(networks, family, start, text)
        same(found, high.model.latent_format.process_out(expected), student)


def check_qwen_image_lightning_keeps_the_networks_own_timesteps() -> None:
    for steps in (4, 8):
        family = FAMILIES[f"qwen_image_lightning_{steps}"]
        model, text = tiny_models.qwen_image(seed=1), tiny_models.text(seed=3)
        start, seen = noise(frames=1), watch(model)
        found = follow(model, f"qwen-image-lightning-{steps}", text, start)
        levels = family["sigmas"][:-1]  # this network multiplies by 1000 itself
        assert [abs(a - b) < 1e-6 for a, b in zip(seen, levels, strict=True)] == [True] * steps, seen
        network = model.model.diffusion_model
        with torch.inference_mode():
            expected = official([network] * steps, {**family, "fed": levels}, start, text)
        same(found, model.model.latent_format.process_out(expected), f"Qwen-Image, {steps} steps")


def check_a_patched_sampling_does_not_change_the_networks_unit() -> None:
    """ModelSamplingSD3 multiplies by 1000 whatever the network takes; a run by contract does not."""
    (shifted,) = run("ModelSamplingSD3", model=tiny_models.qwen_image(seed=1), shift=3.0)
    contract = contract_of("qwen-image-lightning-4")
    patched, _, sigmas = run("WanLiteContractSampling", model=shifted, contract=contract, on_mismatch="ignore")
    fed = patched.get_model_object("model_sampling").timestep(sigmas[:-1])
    assert torch.allclose(fed, torch.tensor(FAMILIES["qwen_image_lightning_4"]["sigmas"][:-1]), atol=1e-6), fed


def check_unipc_students_are_the_librarys_own_runs() -> None:
    """Whose FlowUniPC and schedule equal the official ones by recorded vectors."""
    run_library = submodule("samplers").sample
    for student, fed in (
        ("accvideo", [999, 978, 952, 920, 882, 833, 768, 681, 555, 356]),
        ("chronoedit", [999, 933, 857, 769, 667, 546, 400, 223]),
    ):
        contract, text, empty = contract_of(student), tiny_models.text(seed=3), tiny_models.text(seed=4)
        image_to_video = student == "chronoedit"
        model = tiny_models.wan_i2v(seed=1) if image_to_video else tiny_models.wan(seed=1)
        start = noise()
        if image_to_video:
            text, empty = with_image(text, start), with_image(empty, start)
        patched, sampler, sigmas = run("WanLiteContractSampling", model=model, contract=contract)
        (guider,) = run("CFGGuider", model=patched, positive=text, negative=empty, cfg=contract.cfg)
        seen = watch(model)
        found = sample(guider, sampler, sigmas, start)
        assert [int(timestep) for timestep in seen[:: len(seen) // len(fed)]] == fed, (student, seen)
        call = seeing(model, text, start) if image_to_video else model.model.diffusion_model

        def network(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            with_text = call(x, timestep.float(), context=text[0][0])  # noqa: B023 - called in this round
            if contract.cfg == 1:  # noqa: B023
                return with_text
            without = call(x, timestep.float(), context=empty[0][0])  # noqa: B023
            return without + contract.cfg * (with_text - without)  # noqa: B023

        with torch.inference_mode():
            expected = run_library(
                network, start, contract.schedule(), contract.make_solver(), prediction=contract.prediction
            )
        same(found, model.model.latent_format.process_out(expected), student)
