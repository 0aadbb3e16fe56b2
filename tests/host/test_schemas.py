"""What every node of the pack says about itself, as the page gets it."""

from __future__ import annotations

from typing import Any

import pytest

from host.client import Client

DEMO_VAE = "wan-lite-demo/vae.safetensors"


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
        "WanLiteJoinAlpha": ["image", "alpha"],
        "WanLiteSaveVideo": ["samples", "vae", "filename_prefix", "fps", "format", "tiling", "budget_mb"],
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


def test_core_lists_the_demos_vae_too(comfy: Client) -> None:
    """Shared graphs may use core's own loader with it."""
    known = comfy.object_info()
    (names, *_) = known["VAELoader"]["input"]["required"]["vae_name"]
    ours = known["WanLiteVAELoader"]["input"]["required"]["vae_name"][1]["options"]
    assert DEMO_VAE in names and ours[-1] == DEMO_VAE


def test_every_node_is_found_by_other_words(comfy: Client) -> None:
    """`search_aliases`, on a host that knows them; the node's own name is no alias."""
    known = comfy.object_info()
    nodes = {name: info for name, info in known.items() if name.startswith("WanLite")}
    if not any(info.get("search_aliases") for name, info in known.items() if name not in nodes):
        pytest.skip("this ComfyUI knows no search aliases")
    for name, info in nodes.items():
        aliases = info["search_aliases"]
        assert len(aliases) >= 2 and len(set(aliases)) == len(aliases), name
        assert all(alias == alias.lower().strip() != info["display_name"].lower() for alias in aliases), name
