"""A server in which tiny models stand for those that the shipped workflows have their user download."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

from browser.regenerate import needs_download, shipped_workflows
from host.server import VECTORS, make_base

LARGE = [path for path in shipped_workflows() if needs_download(path)]
STAND_INS = Path(__file__).parent / "stand_ins"
VAES = {"wan_2.1_vae": "wan21_tiny", "qwen_image_vae": "wan21_tiny", "wan2.2_vae": "wan22_tiny"}
SAVERS = ("SaveImage", "SaveAnimatedWEBP")
SMALL = {"width": 64, "height": 64, "steps": 3, "length": 1, "budget_mb": 64}
"""What is made smaller, so that a run takes seconds: sizes and steps, nothing that is a way of sampling."""


def models_of(workflow: Path) -> list[tuple[str, str]]:
    """(folder, name) of every file that a workflow has its user download."""
    nodes = json.loads(workflow.read_text("utf-8"))["nodes"]
    return [(model["directory"], model["name"]) for node in nodes for model in node["properties"].get("models", [])]


def make_base_of_stand_ins(base: Path) -> Path:
    """Fill a base directory whose loaders give tiny models, with small files under the names that workflows want."""
    make_base(base)
    (base / "custom_nodes" / STAND_INS.name).symlink_to(STAND_INS, target_is_directory=True)
    for folder, name in {pair for workflow in LARGE for pair in models_of(workflow)}:
        target = base / "models" / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if folder == "vae" and target.stem in VAES:
            shutil.copyfile(VECTORS / "wan_vae" / f"{VAES[target.stem]}_official.safetensors", target)
        elif folder == "loras":
            save_file(make_lora(name), target)
        else:
            save_file({"stands_for": torch.zeros(1)}, target)
    Image.new("RGB", (64, 64), (200, 120, 40)).save(base / "input" / "example.png")
    return base


def make_lora(name: str) -> dict[str, torch.Tensor]:
    """A LoRA of rank 1 for one matrix of the tiny model that the workflow loads beside it."""
    matrix = "transformer_blocks.0.attn.to_q" if "Qwen" in name else "blocks.0.self_attn.q"
    sizes = {"lora_down": (1, 128), "lora_up": (128, 1)}
    return {f"diffusion_model.{matrix}.{part}.weight": torch.full(size, 0.01) for part, size in sizes.items()}


def shrink(api: dict[str, Any]) -> dict[str, Any]:
    """The same graph at a size that tiny models sample in seconds."""
    for node in api.values():
        for name, value in node["inputs"].items():
            if name in SMALL and not isinstance(value, list) and value:
                node["inputs"][name] = SMALL[name]
    return api
