"""Which files the check in the page reads: those in the host's model folders, and no others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file

from harness import base, submodule

CONTRACT = {"version": 2, "solver": "renoise", "prediction": "velocity", "denoising_steps": [1000, 500], "shift": 5.0,
            "cfg": 1.0, "timestep_cast": "float", "source": "declared"}  # fmt: skip


def folder() -> Path:
    made = base() / "models" / "loras" / "routes"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    return made


def write_lora(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path, {"wan_lite.sampling_contract": json.dumps(CONTRACT)})


def graph(name: str) -> dict:
    return {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "wan2.1_t2v_14B_fp16.safetensors"}},
        "2": {
            "class_type": "LoraLoaderModelOnly",
            "inputs": {"model": ["1", 0], "lora_name": name, "strength_model": 1.0},
        },
        "3": {
            "class_type": "KSampler",
            "inputs": {"model": ["2", 0], "steps": 9, "cfg": 1.0, "sampler_name": "lcm", "scheduler": "simple",
                       "denoise": 1.0, "seed": 1},
        },
    }  # fmt: skip


def sources(name: str) -> list[str]:
    report = submodule("nodes.routes.check").check_open_graph(graph(name))
    return [finding["source"] for finding in report["findings"] if finding["id"] == "levels-differ"]


def check_a_contract_in_a_header_is_found() -> None:
    write_lora(folder() / "mine.safetensors")
    assert sources("routes/mine.safetensors") == ["routes/mine.safetensors (declared)"]
    assert sources("routes\\mine.safetensors") == ["routes\\mine.safetensors (declared)"]


def check_nothing_outside_is_read() -> None:
    find = submodule("nodes.routes.check").find_local
    inside = folder() / "mine.safetensors"
    write_lora(inside)
    with TemporaryDirectory() as outside:
        there = Path(outside, "there.safetensors")
        write_lora(there)
        (inside.parent / "linked.safetensors").symlink_to(there)
        (inside.parent / "linked").symlink_to(outside, target_is_directory=True)
        (inside.parent / "text.txt").write_text("no model")
        assert find("routes/mine.safetensors") == inside
        for name in (
            str(there), str(inside), "routes/linked.safetensors", "routes/linked/there.safetensors", "routes/text.txt",
            "routes/../routes/mine.safetensors", "../loras/routes/mine.safetensors", "routes//mine.safetensors", "",
            "./routes/mine.safetensors", "C:\\mine.safetensors", "routes/mine.safetensors\0", "routes", "no such file",
        ):  # fmt: skip
            assert find(name) is None, name


def check_a_sidecar_outside_hides_the_file() -> None:
    find = submodule("nodes.routes.check").find_local
    mine = folder() / "mine.safetensors"
    save_file({"a": torch.zeros(1)}, mine)
    with TemporaryDirectory() as outside:
        there = Path(outside, "contract.json")
        there.write_text(json.dumps(CONTRACT))
        mine.with_name("mine.sampling_contract.json").symlink_to(there)
        assert find("routes/mine.safetensors") is None
        mine.with_name("mine.sampling_contract.json").unlink()
        assert find("routes/mine.safetensors") == mine


def check_a_folder_is_a_model() -> None:
    student = base() / "models" / "wan_students" / "student_16ch"
    assert submodule("nodes.routes.check").find_local("student_16ch") == student
