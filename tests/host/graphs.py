"""API graphs that the host tests post, and what they read from the answers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

Graph = dict[str, dict[str, Any]]
SAMPLERS = {
    "ddim": ("WanLiteDDIMSampler", {"eta": 0.0, "clip_x0": 0.0}, "ddim-20 run_inference"),
    "flow-unipc": ("WanLiteFlowUniPCSampler", {}, "flow_unipc-20 shift 5"),
}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """One node of an API graph; a link is ``["id", slot]``."""
    return {"class_type": class_type, "inputs": inputs}


def paint(student: str, sampler: str, *, steps: int, shift: float, seed: int = 0, batch_size: int = 1) -> Graph:
    """Student, text from a file, sampler, our VAE, SaveImage: node 8 saves the pictures, node 9 the latents."""
    class_type, more, preset = SAMPLERS[sampler]
    numbers = {"seed": seed, "steps": steps, "cfg": 1.0, "shift": shift, "denoise": 1.0, "on_mismatch": "error"}
    links = {"model": ["1", 0], "positive": ["3", 0], "latent_image": ["2", 0]}
    return {
        "1": node("WanLiteStudentLoader", student_name=student, precision="auto", contract_preset=preset),
        "2": node("WanLiteEmptyLatent", model=["1", 0], width=0, height=0, batch_size=batch_size),
        "3": node("WanLiteTextEmbedsLoad", name=f"{student}.safetensors", index=-1),
        "4": node(class_type, **links, **numbers, **more),
        "5": node("WanLiteVAELoader", vae_name="wan21_tiny.safetensors", precision="fp32"),
        "6": node("WanLiteVAEDecode", samples=["4", 0], vae=["5", 0], tiling="auto", budget_mb=1024),
        "8": node("SaveImage", images=["6", 0], filename_prefix=f"tests/{student}_{sampler}"),
        "9": node("SaveLatent", samples=["4", 0], filename_prefix=f"tests/{student}_{sampler}"),
    }


def declare(graph: Graph, preset: str) -> Graph:
    """The graph with a MODEL that carries ``preset`` as a checkpoint declares it, for the sampler in one node (4)."""
    contract = node("WanLiteMakeContract", preset=preset)
    carrier = node("WanLiteContractSampling", model=["1", 0], contract=["20", 0])
    sampler = {**graph["4"], "inputs": graph["4"]["inputs"] | {"model": ["21", 0]}}
    return graph | {"20": contract, "21": carrier, "4": sampler}


def saved_latent(base: Path, outputs: dict[str, Any], node_id: str) -> torch.Tensor:
    """The LATENT that a SaveLatent node wrote."""
    entry = outputs[node_id]["latents"][0]
    return load_file(base / "output" / entry["subfolder"] / entry["filename"])["latent_tensor"]


def give_latent(base: Path, name: str, samples: torch.Tensor) -> str:
    """Put a LATENT where LoadLatent finds it, and return its name."""
    tensors = {"latent_tensor": samples.contiguous(), "latent_format_version_0": torch.zeros(0)}
    save_file(tensors, base / "input" / f"{name}.latent")
    return f"{name}.latent"


def png_texts(data: bytes) -> dict[str, Any]:
    """The JSON texts inside a PNG."""
    return {key: json.loads(value) for key, value in Image.open(io.BytesIO(data)).text.items()}  # type: ignore[attr-defined]
