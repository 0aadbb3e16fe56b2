"""The probe in the host: the MODEL's own network under every candidate contract, in the host's memory management."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import comfy.model_sampling as host
import comfy.samplers
import torch
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ...pipeline.pictures.convert import from_pil
from ...pipeline.pictures.probe import draw_probe_chart, draw_probe_grid
from ...pipeline.probing import ProbeReport, probe
from ...samplers.contract import PRESETS, SamplingContract
from ..host.checks import contract_of
from ..host.model_sampling import with_sampling
from ..host.progress import Progress, show_text
from ..host.schema import ADVANCED, CATEGORY, schema
from ..host.student_model import STUDENT_ATTACHMENT, ProjectedLatent
from ..student.loader import Contract
from .noise import SEEDS


class RawOutput(host.ModelSamplingDiscreteFlow, host.IMG_TO_IMG):
    """A ``model_sampling`` that leaves the network alone: "sigma" is its timestep, "x0" its output."""

    def timestep(self, sigma: Tensor) -> Tensor:
        return sigma


class ProbeSampler(comfy.samplers.Sampler):
    """A SAMPLER that runs the probe where the host runs a sampler: model loaded, text prepared."""

    def __init__(
        self, candidates: Mapping[str, SamplingContract], shape: Sequence[int], seed: int, finish: Any
    ) -> None:
        self.candidates, self.shape, self.seed, self.finish = candidates, shape, seed, finish
        self.report: ProbeReport | None = None

    def sample(
        self, model_wrap: Any, sigmas: Tensor, extra_args: dict[str, Any], callback: Any, noise: Tensor, *_: Any
    ) -> Tensor:
        """Make the report; the latent that the host wants back means nothing."""
        del sigmas, callback

        def network(x: Tensor, timestep: Tensor) -> Tensor:
            latent = x.to(noise).reshape(len(x), *noise.shape[1:])
            output: Tensor = model_wrap(latent, timestep.to(noise), **extra_args)
            return output.reshape(x.shape).to(x)

        self.report = probe(network, self.candidates, self.shape, seed=self.seed, finish=self.finish, on_run=Progress())
        return noise


def probed(
    model: Any, positive: list[Any], candidates: Mapping[str, SamplingContract], latent: Tensor, seed: int
) -> ProbeReport:
    """Run the probe on latents in the shape of ``latent``, (b, c, h, w) or (b, c, 1, h, w)."""
    finish = Finish(model.get_model_object("latent_format"), latent.ndim)
    flat = latent[:, :, 0] if latent.ndim == 5 else latent
    sampler = ProbeSampler(candidates, tuple(flat.shape), seed, finish)
    guider = comfy.samplers.CFGGuider(with_sampling(model, RawOutput()))
    guider.set_conds(positive, positive)
    guider.sample(torch.zeros_like(latent), torch.zeros_like(latent), sampler, torch.tensor([1.0, 0.0]), seed=seed)
    assert sampler.report is not None
    return sampler.report


class Finish:
    """From a network's own latents (b, c, h, w) to the VAE's: normalised, as statistics want them, or as a LATENT."""

    def __init__(self, latent_format: Any, dimensions: int) -> None:
        self.latent_format, self.dimensions = latent_format, dimensions

    def __call__(self, latent: Tensor) -> Tensor:
        if not isinstance(self.latent_format, ProjectedLatent):
            return latent
        return self.latent_format.vae_format.process_in(self.to_latent(latent)).reshape(
            len(latent), -1, *latent.shape[2:]
        )

    def to_latent(self, latent: Tensor) -> Tensor:
        """What a sampler node would put out, with a frame axis where the model has one."""
        full = rearrange(latent, "b c h w -> b c 1 h w") if self.dimensions == 5 else latent
        out: Tensor = self.latent_format.process_out(full)
        return out


def decoded(vae: Any, latent: Tensor) -> Tensor:
    """LATENT -> (b, H, W, 3) in [0, 1]."""
    image = vae.decode(latent)
    return image.reshape(-1, *image.shape[-3:])


def named_candidates(names: str, contract: SamplingContract | None) -> dict[str, SamplingContract]:
    """The presets named in ``names``, one a line, and the connected contract.

    Raises:
        ValueError: a name is no preset, or there is nothing to try.
    """
    lines = [line.strip() for line in names.splitlines() if line.strip()]
    unknown = [name for name in lines if name not in PRESETS]
    if unknown or not (lines or contract):
        given = f"{unknown[0]!r} is no preset" if unknown else "there is nothing to try"
        raise ValueError(f"candidates: {given}; name some of these, one a line: {'; '.join(PRESETS)}.")
    found = {name: PRESETS[name] for name in lines}
    return found if contract is None else {"connected contract": contract, **found}


def latents_of(model: Any, like: dict[str, Any] | None, pictures: int) -> Tensor:
    """Zeros in the shape to probe: the connected LATENT's, or the student's own.

    Raises:
        ValueError: the MODEL is no student and no latent is connected.
    """
    latent_format, info = model.get_model_object("latent_format"), model.get_attachment(STUDENT_ATTACHMENT)
    if like is not None:
        size = tuple(like["samples"].shape[-2:])
    elif info is not None:
        size = (info.config.latent_size,) * 2
    else:
        raise ValueError("latent: this MODEL is no student, so its size is unknown; connect an empty LATENT.")
    frames = (1,) if latent_format.latent_dimensions == 3 else ()
    return torch.zeros(pictures, latent_format.latent_channels, *frames, *size)


def proposed(model: Any, best: SamplingContract) -> SamplingContract:
    """The best candidate, with what the MODEL's own contract knows of its latents and VAE."""
    known = contract_of(model)
    if known is None:
        return best
    return replace(
        known, solver=best.solver, prediction=best.prediction, steps=best.steps, shift=best.shift, source="assumed"
    )


class WanLiteSamplingProbe(io.ComfyNode):
    """MODEL without a contract -> the contract that fits it best, and the evidence."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteSamplingProbe",
            display_name="Wan Lite Sampling Probe",
            category=f"{CATEGORY}/sampling",
            description="Finds out how a checkpoint wants to be sampled when nobody wrote it down: runs every "
            "candidate from the same noise, measures the latents against what Wan's look like, and ranks them. Look "
            "at the grid too.",
            search_aliases=["which sampler", "prediction type", "garbage images", "debug sampling", "find shift"],
            inputs=[
                io.Model.Input("model", tooltip="A student (another MODEL needs a latent for its size)."),
                io.Conditioning.Input("positive", tooltip="A prompt from the training data is the fairest."),
                io.Vae.Input(
                    "vae",
                    tooltip="To show what each candidate paints; the ranking does not look at pictures.",
                ),
                io.Int.Input(
                    "seed", default=0, min=0, max=SEEDS - 1, control_after_generate=True,
                    tooltip="Of the noise that every candidate starts from.",
                ),
                io.String.Input(
                    "candidates", default="\n".join(PRESETS), multiline=True, tooltip="Presets to try, one a line."
                ),
                Contract.Input("contract", optional=True, tooltip="One more candidate."),
                io.Int.Input(
                    "pictures", default=4, min=1, max=64, **ADVANCED,
                    tooltip="How many latents each candidate makes; more is steadier evidence.",
                ),
                io.Latent.Input(
                    "latent", optional=True,
                    tooltip="Its height and width are probed instead of the student's own.",
                ),
                io.Int.Input(
                    "cell", default=256, min=32, max=2048, step=8, **ADVANCED, tooltip="Size of a picture on the grid."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="What each candidate paints, the best first."),
                io.Image.Output(display_name="chart", tooltip="Size of the latent along each run; 1 is right."),
                io.String.Output(display_name="report", tooltip="The verdict in a sentence, then every number."),
                Contract.Output(display_name="best", tooltip="For Wan Lite Contract Sampling or Save Student."),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: Any, positive: list[Any], vae: Any, seed: int, candidates: str,
        contract: SamplingContract | None = None, pictures: int = 4, latent: dict[str, Any] | None = None,
        cell: int = 256,
    ) -> io.NodeOutput:  # fmt: skip
        zeros = latents_of(model, latent, pictures)
        report = probed(model, positive, named_candidates(candidates, contract), zeros, seed)
        show_text(cls.hidden, report.sentence)
        grid = draw_probe_grid(report, decoder(model, vae, zeros.ndim), cell=cell)
        chart, best = draw_probe_chart(report), proposed(model, report.best.contract)
        return io.NodeOutput(from_pil(grid)[None], from_pil(chart)[None], str(report), best)


def decoder(model: Any, vae: Any, dimensions: int) -> Any:
    """Own latents (1, c, h, w) -> pictures (1, H, W, 3) in [0, 1]."""
    finish = Finish(model.get_model_object("latent_format"), dimensions)
    return lambda latent: decoded(vae, finish.to_latent(latent))


NODES = [WanLiteSamplingProbe]
