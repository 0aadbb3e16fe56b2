"""The students of the vectors in the host: load them, sample them with their own text and noise, compare."""

import torch
from safetensors.torch import load_file

from harness import run, submodule, vectors

STUDENTS = ("student_16ch", "student_4ch")


def golden(name):
    return load_file(vectors() / name / "golden.safetensors")


def load(name, preset, **options):
    return run("WanLiteStudentLoader", student_name=name, contract_preset=preset, **options)[0]


def flow(name, **options):
    return load(name, "flow_unipc-20 shift 5", **options)


def ddim(name, **options):
    return load(name, "ddim-10 training preview", **options)


def text(name, rows=None):
    own = golden(name)["text"][None]
    if rows is None:
        return [[own, {"pooled_output": None}]]
    padded = torch.zeros(1, rows, own.shape[-1])
    padded[:, : own.shape[1]] = own
    return [[padded, {"pooled_output": None}]]


class GivenNoise:
    """Stands where the sampler nodes draw their noise: the noise of the vectors."""

    def __init__(self, noise):
        self.noise = noise

    def __call__(self, seed):
        return self

    def generate_noise(self, latent):
        assert latent["samples"].shape == self.noise.shape, (latent["samples"].shape, self.noise.shape)
        return self.noise


def sample(node_id, model, name, noise=None, **inputs):
    (latent,) = run("WanLiteEmptyLatent", model=model, batch_size=inputs.pop("batch_size", 1))
    sampling = submodule("nodes.host.sampling_run")
    original = sampling.ItemNoise
    if noise is not None:
        sampling.ItemNoise = GivenNoise(noise.unsqueeze(2))
    try:
        given = {"positive": text(name), "latent_image": latent} | inputs
        return run(node_id, model=model, **given)
    finally:
        sampling.ItemNoise = original


def raw(model, vae_input):
    """The vectors' normalised 16-channel latent (1, 16, h, w) -> a LATENT."""
    own = model.get_model_object("latent_format")
    return getattr(own, "vae_format", own).process_out(vae_input.unsqueeze(2))


def relative(got, expected):
    assert got.shape == expected.shape, (got.shape, expected.shape)
    return float((got - expected).abs().max() / expected.abs().max())


def record_timesteps(model):
    seen = []
    network = model.model.diffusion_model
    network.register_forward_pre_hook(lambda module, args: seen.append(args[1].clone()))
    return seen
