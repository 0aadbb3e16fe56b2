"""What every node of the pack says about itself, as the page gets it."""

from __future__ import annotations

from typing import Any

from host.client import Client


def test_every_node_and_input_explains_itself(comfy: Client) -> None:
    nodes = {name: info for name, info in comfy.object_info().items() if name.startswith("WanLite")}
    assert len(nodes) >= 13
    missing = []
    for name, info in nodes.items():
        if len(info["description"]) < 40 or not info["display_name"].startswith("Wan Lite"):
            missing.append(f"{name}: description or display name")
        if not info["category"].startswith("Wan Lite"):
            missing.append(f"{name}: category")
        for input_name, (kind, *options) in inputs_of(info).items():
            settings = options[0] if options else {}
            if not settings.get("tooltip"):
                missing.append(f"{name}.{input_name}: tooltip")
            if kind in ("INT", "FLOAT") and not {"min", "max", "default"} <= set(settings):
                missing.append(f"{name}.{input_name}: range or default")
    assert not missing, missing


def inputs_of(info: dict[str, Any]) -> dict[str, Any]:
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


def test_the_inputs_of_the_first_release_stay_in_their_order(comfy: Client) -> None:
    """Saved workflows store widgets by position and name inputs: these lists may only grow at their end."""
    first = {
        "WanLiteVAELoader": ["vae_name", "precision"],
        "WanLiteVAEEncode": ["image", "vae", "tiling", "budget_mb"],
        "WanLiteVAEDecode": ["samples", "vae", "tiling", "budget_mb"],
        "WanLiteStudentLoader": ["student_name", "precision", "contract_preset"],
        "WanLiteEmptyLatent": ["width", "height", "batch_size", "model"],
        "WanLiteTextEmbedsLoad": ["name", "index"],
        "WanLiteTextEmbedsSave": ["conditioning", "filename_prefix", "captions"],
        "WanLiteMakeContract": ["preset", "steps", "shift", "cfg", "model"],
        "WanLiteSaveStudent": ["model", "filename_prefix", "contract"],
    }
    scene = ["model", "positive", "latent_image", "seed", "steps", "cfg", "shift", "denoise", "on_mismatch"]
    first["WanLiteFlowUniPCSampler"] = [*scene, "negative"]
    first["WanLiteDDIMSampler"] = [*scene, "eta", "clip_x0", "negative"]
    known = comfy.object_info()
    for name, expected in first.items():
        required = list(known[name]["input"].get("required", {}))
        optional = list(known[name]["input"].get("optional", {}))
        old_required = [one for one in expected if one in required]
        old_optional = [one for one in expected if one in optional]
        assert set(old_required) | set(old_optional) == set(expected), name
        assert required[: len(old_required)] == old_required and optional[: len(old_optional)] == old_optional, name


def test_folders_are_the_hosts(comfy: Client) -> None:
    kinds = {entry["name"] for entry in comfy.get_json("/experiment/models")} | set(comfy.get_json("/models"))
    assert {"wan_students", "wan_lite_embeds", "world_models"} <= kinds
    options = comfy.object_info()["WanLiteStudentLoader"]["input"]["required"]["student_name"][1]["options"]
    assert {"student_16ch", "student_4ch"} <= set(options), "a folder of WanDistiller is one entry"
    assert not any(option.startswith("student_16ch/") for option in options)
