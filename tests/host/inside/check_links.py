"""What is linked to a node and cannot be used: one sentence that names the input; and runs that overflow."""

import math

import tiny_models
import torch
from students import flow, text

from harness import node, run

NAME = "student_16ch"
WIDTH = text(NAME)[0][0].shape[-1]
NAN, INF = math.nan, math.inf


def rows(*shape, value=1.0, **options):
    return [[torch.full(shape, value, **options), {}]]


def latent(*shape, value=0.0, **more):
    return {"samples": torch.full(shape, value), **more}


GOOD = latent(1, 16, 1, 4, 4)
CONDITIONING = {
    "empty": ([], "is empty"),
    "none": (None, "is NoneType"),
    "a tensor": (torch.ones(1, 3, WIDTH), "is Tensor"),
    "no options": ([[torch.ones(1, 3, WIDTH)]], "has an entry that is not"),
    "no tokens": (rows(1, 0, WIDTH), f"[1, 0, {WIDTH}]"),
    "batch 0": (rows(0, 3, WIDTH), f"[0, 3, {WIDTH}]"),
    "whole numbers": (rows(1, 3, WIDTH, value=1, dtype=torch.int64), "int64"),
    "NaN": (rows(1, 3, WIDTH, value=NAN), "NaN"),
    "infinite": (rows(1, 3, WIDTH, value=INF), "infinite"),
    "pooled NaN": ([[torch.ones(1, 3, WIDTH), {"pooled_output": torch.full((1, 4), NAN)}]], "pooled_output"),
}
LATENTS = {
    "empty": ({}, "holds no samples"),
    "batch 0": (latent(0, 16, 1, 4, 4), "[0, 16, 1, 4, 4]"),
    "3-D": (latent(16, 4, 4), "[16, 4, 4]"),
    "6-D": (latent(1, 1, 16, 1, 4, 4), "[1, 1, 16, 1, 4, 4]"),
    "no height": (latent(1, 16, 1, 0, 4), "[1, 16, 1, 0, 4]"),
    "whole numbers": ({"samples": torch.zeros(1, 16, 1, 4, 4, dtype=torch.int64)}, "int64"),
    "NaN": (latent(1, 16, 1, 4, 4, value=NAN), "NaN"),
    "infinite": (latent(1, 16, 1, 4, 4, value=INF), "infinite"),
    "mask 1-D": (latent(1, 16, 1, 4, 4, noise_mask=torch.ones(4)), "mask of"),
    "mask empty": (latent(1, 16, 1, 4, 4, noise_mask=torch.ones(0, 1, 4, 4)), "mask of"),
    "mask NaN": (latent(1, 16, 1, 4, 4, noise_mask=torch.full((1, 1, 4, 4), NAN)), "mask of"),
}
SIGMAS = {
    "one": (torch.ones(1), "holds 1 numbers"),
    "2-D": (torch.ones(2, 3), "[2, 3]"),
    "NaN": (torch.tensor([1.0, NAN, 0.0]), "NaN"),
    "infinite": (torch.tensor([INF, 1.0, 0.0]), "infinite"),
    "none": ("1, 0", "is str"),
}


def refused(said, node_id, name, /, **inputs):
    """Assert that a node refuses its inputs in one sentence that names one of them and what was found."""
    try:
        run(node_id, **inputs)
    except (ValueError, ArithmeticError) as error:
        message = str(error)
        assert type(error).__name__ in ("ValueError", "NonFiniteError"), type(error)
        assert said in message and name in message, (node_id, said, message)
        assert len(message) <= 400 and message.isprintable(), message
    else:
        raise AssertionError(f"{node_id} took {name}: {said}")


def sample_custom(model, positive, sigmas, samples, solver="WanLiteSolverFlowUniPC"):
    """Run core's sampler with one of our solvers."""
    (noise,), (guider,) = run("WanLiteNoise"), run("BasicGuider", model=model, conditioning=positive)
    (sampler,) = run(solver, on_mismatch="ignore")
    return {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": samples}


def check_conditioning():
    student, wan, good = flow(NAME), tiny_models.wan(), text(NAME)
    (vae,) = run("WanLiteVAELoader", vae_name="wan21_tiny.safetensors", precision="fp32")
    base = {"latent_image": GOOD, "steps": 2, "on_mismatch": "ignore"}
    for given, said in CONDITIONING.values():
        for node_id in ("WanLiteFlowUniPCSampler", "WanLiteDDIMSampler"):
            for model in (student, wan):
                refused(said, node_id, "positive", model=model, positive=given, **base)
                if given is not None:
                    refused(said, node_id, "negative", model=model, positive=good, negative=given, cfg=2.0, **base)
        experts = {"model_high_noise": wan, "model_low_noise": wan}
        refused(said, "WanLiteExpertsGuider", "positive", positive=given, negative=good, **experts)
        wanted = "nothing is connected" if given is None else said  # it may be left out at cfg 1
        refused(wanted, "WanLiteExpertsGuider", "negative", positive=good, negative=given, **experts)
        refused(said, "WanLiteSamplingProbe", "positive", model=student, positive=given, vae=vae, pictures=1)
        refused(said, "WanLiteTextEmbedsSave", "conditioning", conditioning=given)


def check_text_of_another_width_names_its_input():
    student, good = flow(NAME), text(NAME)
    base = {"model": student, "latent_image": GOOD, "steps": 2, "on_mismatch": "ignore"}
    for given, said in ((rows(1, 3, WIDTH + 1), f"[1, 3, {WIDTH + 1}]"), (rows(3, WIDTH), f"[3, {WIDTH}]")):
        refused(said, "WanLiteFlowUniPCSampler", "positive", positive=given, **base)
        refused(said, "WanLiteFlowUniPCSampler", "negative", positive=good, negative=given, cfg=2.0, **base)
        core = {"model": student, "seed": 0, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
        refused(said, "KSampler", "positive", positive=given, negative=good, latent_image=GOOD, denoise=1.0, **core)
        refused(said, "KSampler", "negative", positive=good, negative=given, latent_image=GOOD, denoise=1.0, **core)


def check_latents():
    student, wan = flow(NAME), tiny_models.wan()
    (vae,) = run("WanLiteVAELoader", vae_name="wan21_tiny.safetensors", precision="fp32")
    for given, said in LATENTS.values():
        for node_id in ("WanLiteFlowUniPCSampler", "WanLiteDDIMSampler"):
            for model, positive in ((student, text(NAME)), (wan, tiny_models.text())):
                inputs = {"model": model, "positive": positive, "steps": 2, "denoise": 0.5, "on_mismatch": "ignore"}
                refused(said, node_id, "latent_image", latent_image=given, **inputs)
        inputs = {"model": student, "positive": text(NAME), "vae": vae, "pictures": 1}
        refused(said, "WanLiteSamplingProbe", "latent", latent=given, **inputs)


def check_sigmas():
    student, good = flow(NAME), torch.tensor([1.0, 0.5, 0.0])
    for given, said in SIGMAS.values():
        refused(said, "WanLiteSchedulePlot", "sigmas", sigmas=given)
        refused(said, "WanLiteSchedulePlot", "compare", sigmas=good, compare=given)
        if isinstance(given, torch.Tensor) and given.ndim == 1:
            for solver in ("WanLiteSolverFlowUniPC", "WanLiteSolverDDIM"):
                refused(said, "SamplerCustomAdvanced", "sigmas",
                        **sample_custom(student, text(NAME), given, GOOD, solver))  # fmt: skip
    refused("holds 0 numbers", "WanLiteSchedulePlot", "sigmas", sigmas=torch.zeros(0))


def check_overflow_names_step_and_tensor():
    """With our solvers on the student and on core's MODEL, in our nodes and in core's."""
    student, wan, sigmas = flow(NAME), tiny_models.wan(), torch.tensor([1.0, 0.7, 0.3, 0.0])
    for model, bad in ((student, rows(1, 3, WIDTH, value=NAN)), (wan, rows(1, 3, 32, value=NAN))):
        refused("from step 1 of 3", "SamplerCustomAdvanced", "positive", **sample_custom(model, bad, sigmas, GOOD))
    nan = latent(1, 16, 1, 4, 4, value=NAN)
    for model, good in ((student, text(NAME)), (wan, tiny_models.text())):
        inputs = sample_custom(model, good, torch.tensor([0.7, 0.3, 0.0]), nan)
        refused("from step 1 of 2", "SamplerCustomAdvanced", "latent_image", **inputs)
    huge = {"positive": rows(1, 3, WIDTH, value=3e38), "latent_image": GOOD, "steps": 3, "on_mismatch": "ignore"}
    refused("from step 1 of 3", "WanLiteFlowUniPCSampler", "positive", model=student, **huge)
    student.model.diffusion_model.conv_out.weight.data.fill_(3e38)
    inputs = {"positive": text(NAME), "latent_image": GOOD, "steps": 3, "on_mismatch": "ignore"}
    refused("from step 1 of 3", "WanLiteFlowUniPCSampler", "a weight is too large", model=student, **inputs)


def check_frames():
    (world, *_) = run("WanLiteWorldLoader", world_name="wan-lite-demo/world.safetensors")
    side = world.sizes.frame_size
    cases = (
        (torch.zeros(0, side, side, 3), f"[0, {side}, {side}, 3]"),
        (torch.zeros(side, side, 3), f"[{side}, {side}, 3]"),
        (torch.zeros(6, 0, side, 3), f"[6, 0, {side}, 3]"),
        (torch.zeros(6, side, side, 1), "1 channels"),
        (torch.zeros(6, side, side, 5), "5 channels"),
        (torch.zeros(6, side, side, 3, dtype=torch.uint8), "uint8"),
        (torch.full((6, side, side, 3), NAN), "NaN"),
        (torch.full((6, side, side, 3), INF), "infinite"),
        (torch.full((6, side, side, 3), 255.0), "[0, 1]"),
    )
    for frames, said in cases:
        for resize in ("error", "fit"):
            refused(said, "WanLiteWorldRollout", "context", world=world, context=frames, steps=1, resize=resize)
            refused(said, "WanLiteWorldDiagnose", "frames", world=world, frames=frames, resize=resize)
            inferred = {"world": world, "frames": frames, "source": "infer from frames", "resize": resize}
            refused(said, "WanLiteWorldActions", "frames", **inferred)
    refused("NoneType", "WanLiteWorldDiagnose", "frames", world=world, frames=None)  # a world without a clip


def check_names():
    model, good = flow(NAME), text(NAME)
    for prefix, said in (
        ("a\0b", "control characters"), ("a\nb", "control characters"), ("\x1b[2J", "control characters"),
        ("x" * 300, "300 characters"), ("x" * 5000, "5000 characters"), ("é" * 150, "150 characters"),
        ("a/" * 900 + "b", "1801 characters"), ("../x", "not inside the output"), ("/etc/x", "not inside the output"),
    ):  # fmt: skip
        refused(said, "WanLiteTextEmbedsSave", "filename_prefix", conditioning=good, filename_prefix=prefix)
        refused(said, "WanLiteSaveStudent", "filename_prefix", model=model, filename_prefix=prefix)
    loaders = (
        ("WanLiteStudentLoader", "student_name"), ("WanLiteVAELoader", "vae_name"), ("WanLiteTextEmbedsLoad", "name"),
        ("WanLiteWorldLoader", "world_name"),
    )  # fmt: skip
    for value, said in (
        (3, "is 3"), (["a"], "['a']"), ("a\0b", "control characters"), ("x" * 5000, "5000 characters"),
        ("../x", "not inside the models"), ("/etc/passwd", "not inside the models"), ("", "not inside the models"),
    ):  # fmt: skip
        for node_id, name in loaders:
            refused(said, node_id, name, **{name: value})
        answer = node("WanLiteStudentLoader").validate_inputs(student_name=value)
        assert isinstance(answer, str) and said in answer, answer
