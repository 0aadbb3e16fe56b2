"""Distilled students: load one as a MODEL, make its empty latent, write it and its sampling contract to one file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import io

from ...models.student import fit_contract, read_student, save_student
from ...samplers.contract import PRESETS, SamplingContract
from ..host.checks import CONTRACT_ATTACHMENT
from ..host.folders import fingerprint, list_models, model_path, save_path
from ..host.progress import show_text
from ..host.schema import CATEGORY, PRECISIONS, choice_input, float_input, int_input, schema, text_input
from ..host.student_model import STUDENT_ATTACHMENT, StudentInfo, build_model, to_student

KIND = "wan_students"
Contract = io.Custom("SAMPLING_CONTRACT")
DEFAULT_PRESET = "ddim-20 run_inference"
OWN_SIZE = 0
SIZE_WITHOUT_MODEL = 512
MAX_SIZE = 16384


def describe(info: StudentInfo, contract: SamplingContract) -> str:
    """A student in one line: its size, what it paints, how it wants to be sampled."""
    side, config = info.config.latent_size, info.config
    return (
        f"{info.source}: student of {config.depth} blocks, width {config.hidden_size}, {config.num_channels} "
        f"channels; latent {side}x{side}, picture {info.pixel_size}x{info.pixel_size}. Contract ({contract.source}): "
        f"{contract.solver}, {contract.prediction}, {contract.steps} steps, shift {contract.shift:g}, cfg "
        f"{contract.cfg:g}."
    )


class WanLiteStudentLoader(io.ComfyNode):
    """A student's folder or file -> MODEL and its contract."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteStudentLoader",
            display_name="Wan Lite Load Student",
            category=f"{CATEGORY}/student",
            description="A distilled Wan student as WanDistiller saves it (a folder with config.json), or one file "
            "from Wan Lite Save Student. The MODEL works with core's samplers, LoRA and CFG; the contract says how "
            "it wants to be sampled.",
            search_aliases=["wandistiller", "distilled", "load diffusion model", "unet loader"],
            inputs=[
                choice_input(
                    "student_name",
                    list_models(KIND),
                    "From models/wan_students. A folder as the training run saved it is one entry.",
                ),
                choice_input(
                    "precision",
                    [*PRECISIONS, "fp8_e4m3fn"],
                    "How the weights are kept. auto: as in the file. fp32 gives the numbers of training; fp8 saves "
                    "memory and loses quality.",
                    default="auto",
                    advanced=True,
                ),
                choice_input(
                    "contract_preset",
                    PRESETS,
                    "How to sample a checkpoint that does not say so itself; marked as assumed. Where the "
                    "checkpoint carries a contract, that one counts.",
                    default=DEFAULT_PRESET,
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="For the samplers of Wan Lite and of core."),
                Contract.Output(display_name="SAMPLING_CONTRACT", tooltip="How this checkpoint wants to be sampled."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, student_name: Any = None) -> bool | str:
        if not isinstance(student_name, str):  # linked, or of a type that the host complains about itself
            return True
        try:
            return bool(model_path(KIND, student_name, "student_name"))
        except ValueError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, student_name: str, precision: str = "auto", contract_preset: str = "") -> str:
        return f"{fingerprint(model_path(KIND, student_name, 'student_name'))} {precision} {contract_preset}"

    @classmethod
    def execute(
        cls, student_name: str, precision: str = "auto", contract_preset: str = DEFAULT_PRESET
    ) -> io.NodeOutput:
        checkpoint = read_student(model_path(KIND, student_name, "student_name"), preset=contract_preset)
        dtype = torch.float8_e4m3fn if precision == "fp8_e4m3fn" else PRECISIONS[precision]
        model = build_model(checkpoint, dtype)
        contract: SamplingContract = model.get_attachment(CONTRACT_ATTACHMENT)
        show_text(cls.hidden, describe(model.get_attachment(STUDENT_ATTACHMENT), contract))
        return io.NodeOutput(model, contract)


class WanLiteEmptyLatent(io.ComfyNode):
    """Nothing yet, in the right shape."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteEmptyLatent",
            display_name="Wan Lite Empty Latent",
            category=f"{CATEGORY}/student",
            description="An empty latent of one frame, in the channels and the size of the MODEL. A student's "
            "image_size is not its picture's size: image_size 1024 with patch_size 16 is a 64x64 latent and a "
            "512x512 picture.",
            search_aliases=["empty latent image", "latent size", "resolution"],
            inputs=[
                io.Model.Input(
                    "model", optional=True, tooltip="Gives the channels and, where a side is 0, the trained size."
                ),
                *(
                    int_input(
                        side,
                        OWN_SIZE,
                        (OWN_SIZE, MAX_SIZE),
                        f"Pixels; 0 is the size that the student was trained at ({SIZE_WITHOUT_MODEL} "
                        f"without one). Other sizes run, with no promise of quality.",
                        step=8,
                    )
                    for side in ("width", "height")
                ),
                int_input("batch_size", 1, (1, 4096), "How many pictures."),
            ],
            outputs=[io.Latent.Output(tooltip="For latent_image of a sampler.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int, model: Any = None) -> io.NodeOutput:
        info: StudentInfo | None = model.get_attachment(STUDENT_ATTACHMENT) if model else None
        latent_format = model.get_model_object("latent_format") if model else None
        cell = getattr(latent_format, "spacial_downscale_ratio", 8)
        own = info.pixel_size if info else SIZE_WITHOUT_MODEL
        sides = [height or own, width or own]
        if any(side % cell for side in sides):
            raise ValueError(
                f"width x height is {sides[1]}x{sides[0]}; both must be multiples of {cell} for this MODEL."
            )
        if info and sides != [own, own]:
            show_text(cls.hidden, f"{sides[1]}x{sides[0]}; this student was trained at {own}x{own} only.")
        shape = (batch_size, getattr(latent_format, "latent_channels", 16), 1, *(side // cell for side in sides))
        return io.NodeOutput({"samples": torch.zeros(shape, device=comfy.model_management.intermediate_device())})


class WanLiteMakeContract(io.ComfyNode):
    """Numbers -> a sampling contract."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteMakeContract",
            display_name="Wan Lite Make Contract",
            category=f"{CATEGORY}/student",
            description="Writes down how a student wants to be sampled, for Wan Lite Save Student. Begins with a "
            "preset; a number of 0 keeps the preset's. With the MODEL connected it also records the size of its "
            "latent.",
            search_aliases=["sampling contract", "metadata", "modelspec"],
            inputs=[
                choice_input("preset", PRESETS, "Where to begin.", default=DEFAULT_PRESET),
                int_input("steps", 0, (0, 1000), "Steps of a run; 0 keeps the preset's."),
                float_input(
                    "shift",
                    0.0,
                    (0.0, 100.0),
                    "The rational shift of its schedule; 0 keeps the preset's, 1 is none.",
                    step=0.01,
                    round=0.001,
                ),
                float_input(
                    "cfg",
                    0.0,
                    (0.0, 100.0),
                    "Guidance; 0 keeps the preset's. Students are trained without it: 1.",
                    step=0.1,
                    round=0.01,
                ),
                io.Model.Input("model", optional=True, tooltip="A student: its latent size goes into the contract."),
            ],
            outputs=[Contract.Output(display_name="SAMPLING_CONTRACT", tooltip="For Wan Lite Save Student.")],
        )

    @classmethod
    def execute(cls, preset: str, steps: int, shift: float, cfg: float, model: Any = None) -> io.NodeOutput:
        numbers: dict[str, Any] = {
            key: value for key, value in (("steps", steps), ("shift", shift), ("cfg", cfg)) if value
        }
        info: StudentInfo | None = model.get_attachment(STUDENT_ATTACHMENT) if model else None
        contract = replace(PRESETS[preset], **numbers, source="declared")
        return io.NodeOutput(fit_contract(contract, info.config, info.vae_channels) if info else contract)


class WanLiteSaveStudent(io.ComfyNode):
    """MODEL -> one file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="WanLiteSaveStudent",
            display_name="Wan Lite Save Student",
            category=f"{CATEGORY}/student",
            description="Writes a student as one safetensors file in output/wan_students: weights (LoRA merged in), "
            "output projection, sizes and sampling contract. Wan Lite Load Student finds it there.",
            search_aliases=["save model", "export", "single file"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="A student, with or without LoRA."),
                text_input(
                    "filename_prefix",
                    f"{KIND}/student",
                    "Folder and beginning of the name, inside the output folder; a number is added.",
                ),
                Contract.Input(
                    "contract",
                    optional=True,
                    tooltip="What to write as its contract; without it, the one it was loaded with.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, model: Any, filename_prefix: str, contract: SamplingContract | None = None) -> io.NodeOutput:
        path, file, subfolder = save_path(filename_prefix, ".safetensors")
        save_student(to_student(model), path, contract=contract)
        return io.NodeOutput(ui={"files": [{"filename": file, "subfolder": subfolder, "type": "output"}]})


NODES = [WanLiteStudentLoader, WanLiteEmptyLatent, WanLiteMakeContract, WanLiteSaveStudent]
