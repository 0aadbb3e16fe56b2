"""Samplers in one node: a student, sampled exactly as in training, with every number in sight."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...on_mismatch import ON_MISMATCH
from ...samplers.solvers import DDIM, FlowUniPC
from ..host.checks import get_contract
from ..host.guard.record import record_contract
from ..host.sampling_run import RunNumbers, SampleInputs, sample_as_trained
from ..host.schema import CATEGORY, Node, choice_input, float_input, int_input, make_schema, seed_input


def sample_inputs(steps: int, shift: float, shift_help: str) -> list[io.Input]:
    """Return the inputs that both samplers share, in the order in which saved workflows store them."""
    return [
        io.Model.Input("model", tooltip="A student from Wan Lite Load Student; core's Wan works too."),
        io.Conditioning.Input(
            "positive", tooltip="The prompt: CLIP Text Encode with Wan's umT5, or Wan Lite Load Text Embeds."
        ),
        io.Conditioning.Input("negative", optional=True, tooltip="Needed only where cfg is not 1."),
        io.Latent.Input("latent_image", tooltip="Wan Lite Empty Latent, or an encoded image (with denoise below 1)."),
        seed_input("seed", "Image i of a batch uses this seed + i, so it is the image that seed + i gives alone."),
        int_input("steps", steps, (1, 1000), "How many times the network is called."),
        float_input(
            "cfg",
            1.0,
            (0.0, 100.0),
            "Guidance. Students are trained without it: 1. Other values call the network twice a step.",
            step=0.1,
            round=0.01,
        ),
        float_input("shift", shift, (0.01, 100.0), shift_help, step=0.01, round=0.001),
        float_input(
            "denoise",
            1.0,
            (0.01, 1.0),
            "1 starts from pure noise. Below 1 only the last part of the schedule runs, on latent_image.",
            step=0.01,
        ),
        choice_input(
            "on_mismatch",
            ON_MISMATCH,
            "Where this differs from the checkpoint's sampling contract, or the MODEL carries another "
            "shift: stop with the reason, write it to the log, or continue.",
            default="error",
        ),
    ]


def sample_outputs() -> list[io.Output]:
    """Return the two LATENTs of a sampler."""
    return [
        io.Latent.Output("latent", display_name="LATENT", tooltip="The finished latent, for a VAE Decode."),
        io.Latent.Output(
            "denoised",
            display_name="denoised",
            tooltip="The clean latent that the last step saw; the same after a full run.",
        ),
    ]


_HIDDEN = [io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo]


class WanLiteFlowUniPCSampler(Node):
    """Wan's own sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        shift_help = (
            "s t / (1 + (s - 1) t), applied once, here. Wan uses 5 (3 at 480p, 12 for T2V-A14B); above 1 more steps go "
            "to high noise."
        )
        return make_schema(
            node_id="WanLiteFlowUniPCSampler",
            display_name="Wan Lite FlowUniPC Sampler",
            category=f"{CATEGORY}/sampling",
            description="Samples with Wan's FlowUniPC (order 2, bh2, with corrector) on Wan's schedule and truncated "
            "timesteps, equal to the official code. Reads the network's output as a flow velocity.",
            search_aliases=["ksampler", "unipc", "flow", "wan sampler", "student sampler"],
            inputs=sample_inputs(20, 5.0, shift_help),
            outputs=sample_outputs(),
            hidden=_HIDDEN,
        )

    @classmethod
    def execute(  # the host gives inputs by name: both samplers name those that they share
        cls,
        model: Any,
        positive: list,
        latent_image: dict[str, Any],
        seed: int = 0,
        steps: int = 20,
        cfg: float = 1.0,
        shift: float = 5.0,
        denoise: float = 1.0,
        on_mismatch: str = "error",
        negative: list | None = None,
    ) -> io.NodeOutput:
        inputs = SampleInputs(positive, negative, latent_image, seed, cfg)
        numbers = RunNumbers(steps, shift, denoise)
        requested, result = sample_as_trained(model, inputs, FlowUniPC(), numbers, on_mismatch)
        record_contract(cls.hidden, requested, get_contract(model))
        return io.NodeOutput(*result)


class WanLiteDDIMSampler(Node):
    """The sampler of the training preview."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        shift_help = (
            "1 is the schedule of training, evenly spaced from timestep 999 to 0. Other values bend it by "
            "s t / (1 + (s - 1) t), applied once, here."
        )
        return make_schema(
            node_id="WanLiteDDIMSampler",
            display_name="Wan Lite DDIM Sampler",
            category=f"{CATEGORY}/sampling",
            description="Samples with the DDIM of WanDistiller's training previews (10 steps) and run_inference (20 "
            "steps): alpha = 1 - t/1000, truncated timesteps. Reads the network's output as noise (epsilon).",
            search_aliases=["ksampler", "ddim", "training preview", "student sampler", "wandistiller"],
            inputs=[
                *sample_inputs(20, 1.0, shift_help),
                float_input(
                    "eta",
                    0.0,
                    (0.0, 1.0),
                    "0: no new noise, as in training. 1: as much as DDPM adds at every step.",
                    step=0.01,
                    advanced=True,
                ),
                float_input(
                    "clip_x0",
                    0.0,
                    (0.0, 1000.0),
                    "Limit the predicted clean latent to [-clip_x0, clip_x0]. 0: no limit, as in training.",
                    step=0.1,
                    advanced=True,
                ),
            ],
            outputs=sample_outputs(),
            hidden=_HIDDEN,
        )

    @classmethod
    def execute(  # the host gives inputs by name: both samplers name those that they share
        cls,
        model: Any,
        positive: list,
        latent_image: dict[str, Any],
        seed: int = 0,
        steps: int = 20,
        cfg: float = 1.0,
        shift: float = 1.0,
        denoise: float = 1.0,
        on_mismatch: str = "error",
        eta: float = 0.0,
        clip_x0: float = 0.0,
        negative: list | None = None,
    ) -> io.NodeOutput:
        inputs = SampleInputs(positive, negative, latent_image, seed, cfg)
        solver, numbers = DDIM(eta=eta, clip_x0=clip_x0 or None, seed=seed), RunNumbers(steps, shift, denoise)
        requested, result = sample_as_trained(model, inputs, solver, numbers, on_mismatch)
        record_contract(cls.hidden, requested, get_contract(model))
        return io.NodeOutput(*result)


NODES = [WanLiteFlowUniPCSampler, WanLiteDDIMSampler]
