"""Distilled students: load one as a MODEL, make its empty latent, write it and its sampling contract to one file."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ...models.student import read_student, save_student
from ...on_mismatch import ON_MISMATCH
from ...pipeline.contracts import override_contract
from ...samplers.contract import PRESETS, SamplingContract
from ..host.checks import CONTRACT_ATTACHMENT
from ..host.folders import find_model, fingerprint, list_models, make_save_path
from ..host.progress import show_text
from ..host.schema import CATEGORY, PRECISIONS, Node, choice_input, float_input, int_input, make_schema, text_input
from ..host.student_model import (
    SIZE_WITHOUT_MODEL,
    build_model,
    describe_student,
    fit_to_student,
    get_trained_size,
    make_empty_latent,
    to_student,
)

KIND = "wan_students"
Contract = io.Custom("SAMPLING_CONTRACT")
DEFAULT_PRESET = "ddim-20 run_inference"
FP8 = "fp8_e4m3fn"
AS_FILE = "as the file says"
"""As the checkpoint's own contract; one that carries none is taken to want ``DEFAULT_PRESET``, marked as assumed."""
OWN_SIZE = 0
MAX_SIZE = 16384


def guard_input() -> io.Combo.Input:
    """Return the input that says what the MODEL's guard does in core's own samplers."""
    return choice_input(
        "on_mismatch",
        ON_MISMATCH,
        "Core's own samplers know nothing of the contract, so the MODEL compares what they do with it. error: stop "
        "where no image can come of it, and warn of the rest on the node; warn: only warn; ignore: do not compare.",
        default="error",
        advanced=True,
    )


class WanLiteStudentLoader(Node):
    """A student's folder or file -> MODEL and its contract."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
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
                    [*PRECISIONS, FP8],
                    "How the weights are kept. auto: as in the file. fp32 gives the numbers of training; fp8 saves "
                    "memory and loses quality.",
                    default="auto",
                    advanced=True,
                ),
                choice_input(
                    "contract_preset",
                    [AS_FILE, *PRESETS],
                    "How to sample a checkpoint that does not say so itself; marked as assumed. Where the checkpoint "
                    f"carries a contract, that one counts. {AS_FILE}: its contract, or {DEFAULT_PRESET} without one.",
                    default=AS_FILE,
                ),
                guard_input(),
            ],
            outputs=[
                io.Model.Output(tooltip="For the samplers of Wan Lite and of core."),
                Contract.Output(display_name="SAMPLING_CONTRACT", tooltip="How this checkpoint wants to be sampled."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, student_name: Any = None) -> bool | str:
        if student_name is None:  # linked
            return True
        try:
            return bool(find_model(KIND, student_name, "student_name"))
        except ValueError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(
        cls,
        student_name: str,
        precision: str = "auto",
        contract_preset: str = AS_FILE,
        on_mismatch: str = "error",
    ) -> str:
        file = fingerprint(find_model(KIND, student_name, "student_name"))
        return f"{file} {precision} {contract_preset} {on_mismatch}"

    @classmethod
    def execute(
        cls,
        student_name: str,
        precision: str = "auto",
        contract_preset: str = AS_FILE,
        on_mismatch: str = "error",
    ) -> io.NodeOutput:
        file, wanted = (
            find_model(KIND, student_name, "student_name"),
            {**PRECISIONS, FP8: torch.float8_e4m3fn}[precision],
        )
        preset = DEFAULT_PRESET if contract_preset == AS_FILE else contract_preset
        checkpoint = read_student(file, preset=preset, dtype=lambda stored: wanted or stored)
        model = build_model(checkpoint, on_mismatch)
        show_text(cls.hidden, describe_student(model))
        return io.NodeOutput(model, model.get_attachment(CONTRACT_ATTACHMENT))


class WanLiteEmptyLatent(Node):
    """Nothing yet, in the right shape."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
            node_id="WanLiteEmptyLatent",
            display_name="Wan Lite Empty Latent",
            category=f"{CATEGORY}/student",
            description="An empty latent of one frame, in the channels and the size of the MODEL. A student's "
            "image_size is not the size of its images: image_size 1024 with patch_size 16 is a 64x64 latent and a "
            "512x512 image.",
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
                        f"without one). Other sizes run, without a promise of quality.",
                        step=8,
                    )
                    for side in ("width", "height")
                ),
                int_input("batch_size", 1, (1, 4096), "How many images."),
            ],
            outputs=[io.Latent.Output(tooltip="For latent_image of a sampler.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, width: int = 0, height: int = 0, batch_size: int = 1, model: Any = None) -> io.NodeOutput:
        latent, own = make_empty_latent(model, width, height, batch_size), get_trained_size(model)
        sides = (width or own, height or own)
        if own and sides != (own, own):
            show_text(cls.hidden, f"{sides[0]}x{sides[1]}; this student was trained at {own}x{own} only.")
        return io.NodeOutput(latent)


class WanLiteMakeContract(Node):
    """Numbers -> a sampling contract."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
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
    def execute(
        cls,
        preset: str = DEFAULT_PRESET,
        steps: int = 0,
        shift: float = 0.0,
        cfg: float = 0.0,
        model: Any = None,
    ) -> io.NodeOutput:
        contract = override_contract(PRESETS[preset], steps=steps, shift=shift, cfg=cfg, source="declared")
        return io.NodeOutput(fit_to_student(contract, model))


class WanLiteSaveStudent(Node):
    """MODEL -> one file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return make_schema(
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
    def execute(
        cls, model: Any, filename_prefix: str = f"{KIND}/student", contract: SamplingContract | None = None
    ) -> io.NodeOutput:
        path, file, subfolder = make_save_path(filename_prefix, ".safetensors")
        save_student(to_student(model), path, contract=contract)
        return io.NodeOutput(ui={"files": [{"filename": file, "subfolder": subfolder, "type": "output"}]})


NODES = [WanLiteStudentLoader, WanLiteEmptyLatent, WanLiteMakeContract, WanLiteSaveStudent]
