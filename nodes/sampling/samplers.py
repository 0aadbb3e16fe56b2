"""Samplers in one node: a student, sampled exactly as in training, with every number in sight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
from comfy_api.latest import io
from torch import Tensor

from ...samplers.contract import SamplingContract
from ...samplers.ddim import DDIM
from ...samplers.prediction import Prediction
from ...samplers.process import FLOW, VE, NoiseProcess
from ...samplers.schedule import Schedule, ddim_schedule, flow_schedule
from ...samplers.solver import Solver
from ...samplers.unipc import FlowUniPC
from ..host.checks import ON_MISMATCH, contract_of, contract_problems, process_problem, settle, shift_problem
from ..host.fixed_schedule import ScheduledFlow, ScheduledSampling, SolverSampler
from ..host.metadata import record_contract
from ..host.model_sampling import model_noise_process, with_sampling
from ..host.schema import ADVANCED, CATEGORY, schema
from ..host.student_model import STUDENT_ATTACHMENT, ProjectedLatent
from .noise import PER_ITEM, SEEDS, ItemNoise
from .schedules import ddim_sigmas


@dataclass(frozen=True)
class Scene:
    """What is to be painted, as the host's sampler nodes know it."""

    positive: list
    negative: list | None
    latent: dict[str, Any]
    seed: int
    cfg: float


@dataclass(frozen=True)
class Plan:
    """How it is to be sampled."""

    schedule: Schedule
    solver: Solver
    prediction: Prediction
    shift: float
    from_noise: bool


def paint(model: Any, scene: Scene, plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the plan on a MODEL and return the LATENT and the LATENT of the last x0.

    Raises:
        ValueError: the guidance has no negative, or the latent belongs to another kind of model.
    """
    latent = fitted_latent(model, scene.latent)
    patched, schedule = in_training_process(model, plan)
    last: dict[str, Tensor] = {}
    guider = comfy.samplers.CFGGuider(patched)
    guider.set_conds(scene.positive, guidance_text(scene))
    guider.set_cfg(scene.cfg)
    samples = guider.sample(
        ItemNoise(scene.seed, PER_ITEM).generate_noise(latent),
        latent["samples"],
        SolverSampler(plan.solver, schedule, plan.from_noise),
        schedule.sigmas.float(),
        denoise_mask=latent.get("noise_mask"),
        callback=latent_preview.prepare_callback(patched, schedule.steps, last),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=scene.seed,
    )
    denoised = patched.model.process_latent_out(last["x0"].float().cpu())
    device = comfy.model_management.intermediate_device()
    return {**latent, "samples": samples.to(device)}, {**latent, "samples": denoised.to(device)}


def fitted_latent(model: Any, latent: dict[str, Any]) -> dict[str, Any]:
    """A LATENT in the model's own channels and axes: an empty one is remade, a picture is projected where it must be.

    Raises:
        ValueError: the latent has the channels of another model.
    """
    ratios = {key: latent[key] for key in ("downscale_ratio_spacial", "downscale_ratio_temporal") if key in latent}
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"], **ratios)
    own = model.get_model_object("latent_format")
    outside = own.vae_format.latent_channels if isinstance(own, ProjectedLatent) else own.latent_channels
    if samples.shape[1] not in (own.latent_channels, outside):
        raise ValueError(
            f"latent_image has {samples.shape[1]} channels, but this MODEL works on latents of {outside}; encode the "
            "picture with the VAE of this model, or use WanLiteEmptyLatent with the MODEL connected."
        )
    if isinstance(own, ProjectedLatent):
        samples = own.process_in(samples)
    return {key: value for key, value in latent.items() if key not in ratios} | {"samples": samples}


def guidance_text(scene: Scene) -> list:
    """The negative conditioning; at cfg 1 the host never evaluates it, so there it may be missing."""
    if scene.negative is not None:
        return scene.negative
    if scene.cfg != 1.0:
        raise ValueError(
            f"cfg is {scene.cfg:g}, but nothing is connected to negative; connect a CONDITIONING (an empty prompt, for "
            "instance), or set cfg to 1, which is how students are trained."
        )
    return scene.positive


def in_training_process(model: Any, plan: Plan) -> tuple[Any, Schedule]:
    """The MODEL and its schedule: students (and core's Wan) exactly as in training, others in the host's process.

    A network that was not trained on the timesteps 0..999 of Wan gets those of its own MODEL, at the same levels.
    """
    schedule, flow = plan.schedule, plan.schedule.process is FLOW
    exact = model.get_attachment(STUDENT_ATTACHMENT) is not None
    if exact or (flow and isinstance(model.model, comfy.model_base.WAN21)):
        kind = ScheduledFlow if flow else ScheduledSampling
        return with_sampling(model, kind(schedule, plan.prediction, plan.shift)), schedule
    process = model_noise_process(model)
    if flow:
        return model, schedule if process is FLOW else schedule.to_process(process)
    return model, Schedule(ddim_sigmas(schedule, model), process)


def requested_contract(
    model: Any, scene: Scene, solver: str, prediction: str, steps: int, shift: float
) -> SamplingContract:
    """What the node was asked to do, as a contract: compared with the checkpoint's, and written into the picture."""
    latent = (model.get_model_object("latent_format").latent_channels, *scene.latent["samples"].shape[-2:])
    changed: dict[str, Any] = {
        "latent": latent,
        "solver": solver,
        "prediction": prediction,
        "steps": steps,
        "shift": shift,
        "cfg": scene.cfg,
    }
    declared = contract_of(model)
    return replace(declared, **changed) if declared else SamplingContract(**changed)


def check(model: Any, requested: SamplingContract, process: NoiseProcess, on_mismatch: str) -> None:
    """Compare with the checkpoint's contract; without one, at least with the MODEL's noise process."""
    declared = contract_of(model)
    problems: list[str | None] = [*contract_problems(declared, requested)]
    if declared is None:
        problems = [process_problem(model, process, f"sampling with {requested.solver}")]
    settle([shift_problem(model, requested.shift), *problems], on_mismatch)


def scene_inputs(steps: int, shift: float, shift_help: str) -> list[io.Input]:
    """The inputs that both samplers share, in the order in which saved workflows store them."""
    return [
        io.Model.Input("model", tooltip="A student from Wan Lite Load Student; core's Wan works too."),
        io.Conditioning.Input("positive", tooltip="The prompt: CLIP Text Encode with Wan's umT5, or Wan Lite Load "
        "Text Embeds."),
        io.Conditioning.Input("negative", optional=True, tooltip="Needed only where cfg is not 1."),
        io.Latent.Input("latent_image", tooltip="Wan Lite Empty Latent, or an encoded picture (with denoise below 1)."),
        io.Int.Input(
            "seed", default=0, min=0, max=SEEDS - 1, control_after_generate=True,
            tooltip="Picture i of a batch uses this seed + i, so it is the picture that seed + i gives alone.",
        ),
        io.Int.Input("steps", default=steps, min=1, max=1000, tooltip="How many times the network is called."),
        io.Float.Input(
            "cfg", default=1.0, min=0.0, max=100.0, step=0.1, round=0.01,
            tooltip="Guidance. Students are trained without it: 1. Other values call the network twice a step.",
        ),
        io.Float.Input("shift", default=shift, min=0.01, max=100.0, step=0.01, round=0.001, tooltip=shift_help),
        io.Float.Input(
            "denoise", default=1.0, min=0.01, max=1.0, step=0.01,
            tooltip="1 starts from pure noise. Below 1 only the last part of the schedule runs, on latent_image.",
        ),
        io.Combo.Input(
            "on_mismatch", options=list(ON_MISMATCH), default="error",
            tooltip="Where this differs from the checkpoint's sampling contract, or the MODEL carries another shift: "
            "stop with the reason, write it to the log, or go on.",
        ),
    ]  # fmt: skip


def latent_outputs() -> list[io.Output]:
    """The two LATENTs of a sampler."""
    return [
        io.Latent.Output("latent", display_name="LATENT", tooltip="The finished latent, for a VAE Decode."),
        io.Latent.Output(
            "denoised",
            display_name="denoised",
            tooltip="The clean latent that the last step saw; the same after a full run.",
        ),
    ]


_HIDDEN = [io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo]


class WanLiteFlowUniPCSampler(io.ComfyNode):
    """Wan's own sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        shift_help = (
            "s t / (1 + (s - 1) t), applied once, here. Wan uses 5 (3 at 480p, 12 for T2V-A14B); above 1 more steps go "
            "to high noise."
        )
        return schema(
            node_id="WanLiteFlowUniPCSampler",
            display_name="Wan Lite FlowUniPC Sampler",
            category=f"{CATEGORY}/sampling",
            description="Samples with Wan's FlowUniPC (order 2, bh2, with corrector) on Wan's schedule and truncated "
            "timesteps, equal to the official code. Reads the network's output as a flow velocity.",
            search_aliases=["ksampler", "unipc", "flow", "wan sampler", "student sampler"],
            inputs=scene_inputs(20, 5.0, shift_help),
            outputs=latent_outputs(),
            hidden=_HIDDEN,
        )

    @classmethod
    def execute(
        cls, model: Any, positive: list, latent_image: dict[str, Any], seed: int, steps: int, cfg: float, shift: float,
        denoise: float, on_mismatch: str, negative: list | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        scene = Scene(positive, negative, latent_image, seed, cfg)
        requested = requested_contract(model, scene, "flow_unipc", "velocity", steps, shift)
        check(model, requested, FLOW, on_mismatch)
        schedule = flow_schedule(steps, shift, denoise)
        result = paint(model, scene, Plan(schedule, FlowUniPC(), Prediction.VELOCITY, shift, denoise == 1.0))
        record_contract(cls.hidden, requested)
        return io.NodeOutput(*result)


class WanLiteDDIMSampler(io.ComfyNode):
    """The sampler of the training preview."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        shift_help = "1 is the schedule of training, evenly spaced from timestep 999 to 0. Other values bend it by " \
            "s t / (1 + (s - 1) t), applied once, here."  # fmt: skip
        return schema(
            node_id="WanLiteDDIMSampler",
            display_name="Wan Lite DDIM Sampler",
            category=f"{CATEGORY}/sampling",
            description="Samples with the DDIM of WanDistiller's training previews (10 steps) and run_inference (20 "
            "steps): alpha = 1 - t/1000, truncated timesteps. Reads the network's output as noise (epsilon).",
            search_aliases=["ksampler", "ddim", "training preview", "student sampler", "wandistiller"],
            inputs=[
                *scene_inputs(20, 1.0, shift_help),
                io.Float.Input(
                    "eta", default=0.0, min=0.0, max=1.0, step=0.01, **ADVANCED,
                    tooltip="0: no new noise, as in training. 1: as much as DDPM adds at every step.",
                ),
                io.Float.Input(
                    "clip_x0", default=0.0, min=0.0, max=1000.0, step=0.1, **ADVANCED,
                    tooltip="Limit the predicted clean latent to [-clip_x0, clip_x0]. 0: no limit, as in training.",
                ),
            ],
            outputs=latent_outputs(),
            hidden=_HIDDEN,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: Any, positive: list, latent_image: dict[str, Any], seed: int, steps: int, cfg: float, shift: float,
        denoise: float, on_mismatch: str, eta: float = 0.0, clip_x0: float = 0.0, negative: list | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        scene = Scene(positive, negative, latent_image, seed, cfg)
        requested = requested_contract(model, scene, "ddim", "epsilon", steps, shift)
        check(model, requested, VE, on_mismatch)
        schedule, solver = ddim_schedule(steps, shift, denoise), DDIM(eta=eta, clip_x0=clip_x0 or None, seed=seed)
        result = paint(model, scene, Plan(schedule, solver, Prediction.EPSILON, shift, denoise == 1.0))
        record_contract(cls.hidden, requested)
        return io.NodeOutput(*result)


NODES = [WanLiteFlowUniPCSampler, WanLiteDDIMSampler]
