"""What loading a student takes beside its weights: they are in memory once."""

from __future__ import annotations

import ctypes
import gc
import inspect
import os
from pathlib import Path

import comfy.model_base
import torch

from harness import Absent, base, run, submodule

DEPTH = 7  # about 130 MB
MOST = 1.15


def read_status(key: str) -> int:
    """Bytes of this process by a key of the kernel's table."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))


def write_student(name: str, depth: int) -> Path:
    """Write a student of random weights."""
    student = submodule("models.student")
    config = student.StudentConfig(512, depth, 8, 16, 64, 8, 64)
    path = base() / "models" / "wan_students" / f"{name}.safetensors"
    preset = submodule("samplers.contract").PRESETS["flow_unipc-20 shift 5"]
    student.save_student(student.Student(student.StudentNetwork(config), contract=preset), path)
    return path


def check_a_student_is_in_memory_once() -> None:
    if not os.access("/proc/self/clear_refs", os.W_OK):
        return
    if "assign" not in inspect.signature(comfy.model_base.BaseModel.load_model_weights).parameters:
        raise Absent("this ComfyUI can only copy weights into a model")
    checkpoint = submodule("models.checkpoint")
    paths = [write_student(name, depth) for name, depth in (("little", 1), ("much", DEPTH))]
    at_once, checkpoint._BYTES_AT_ONCE = checkpoint._BYTES_AT_ONCE, 2**22
    try:
        run("WanLiteStudentLoader", student_name="little.safetensors")  # what is loaded once is not counted
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what writing has freed would hide what loading takes
        Path("/proc/self/clear_refs").write_text("5")
        before = read_status("VmRSS")
        model, _ = run("WanLiteStudentLoader", student_name="much.safetensors")
        growth = read_status("VmHWM") - before
    finally:
        checkpoint._BYTES_AT_ONCE = at_once
        for path in paths:
            path.unlink()
    size = sum(weight.nbytes for weight in model.model.diffusion_model.parameters())
    assert growth <= MOST * size, f"{growth / size:.2f} times {size / 1e6:.0f} MB"


def check_weights_are_kept_as_the_loader_says() -> None:
    for precision, dtype in (("auto", torch.float32), ("bf16", torch.bfloat16), ("fp8_e4m3fn", torch.float8_e4m3fn)):
        model, _ = run("WanLiteStudentLoader", student_name="student_4ch", precision=precision)
        assert {weight.dtype for weight in model.model.diffusion_model.parameters()} == {dtype}, precision
