"""Wan Lite Load VAE in place of core's in ComfyUI's own templates: nodes that take the VAE give what core's gives."""

import contextlib
import logging
from pathlib import Path
from unittest.mock import patch

import comfy.ldm.wan.vae2_2
import nodes
import torch
from vae_consumers import SIZES, Inputs, Use, collect, find_templates, find_uses, finish, takes_video

from harness import base, node, run, submodule

log = logging.getLogger(__name__)
TOLERANCE = 2e-5  # of the largest value
BEYOND = (
    Use("VAEEncodeForInpaint", ("mask", "pixels"), "qwen_image_vae.safetensors", ()),
    Use("InpaintModelConditioning", ("mask", "negative", "pixels", "positive"), "wan_2.1_vae.safetensors", ()),
    Use("WanPhantomSubjectToVideo", ("images", "negative", "positive"), "wan_2.1_vae.safetensors", ()),
    Use(
        "WanAnimateToVideo",
        ("background_video", "continue_motion", "negative", "pose_video", "positive", "reference_image"),
        "wan_2.1_vae.safetensors",
        (),
    ),
)
"""Further nodes of core that take such a VAE, which no template has."""


def list_uses():
    """Every way in which a template, or the list above, uses the VAE."""
    return [*find_uses(), *(use for use in BEYOND if use.node in nodes.NODE_CLASS_MAPPINGS)]


def make_file(name):
    """Write narrow random weights of a file's layout under its name in models/vae."""
    wan_vae = submodule("models.wan_vae")
    sizes = {"dim": 8}
    if "layered" in name:
        sizes |= {"in_channels": 4, "out_channels": 4}
    if "2.2" in name:
        sizes = {"dim": 4, "dec_dim": 8, "z_dim": 48, "patch_size": 2}
    path = Path(base()) / "models" / "vae" / name
    if not path.exists():
        torch.manual_seed(0)
        vae = wan_vae.WanVAE(wan_vae.WanVAEConfig(**sizes), video=True).requires_grad_(False)
        for key, p in vae.named_parameters():
            inputs = p[0].numel() * (p.shape[1] if key.endswith(".past") else 1) if p.ndim > 1 else 1
            p.copy_(torch.rand_like(p) + 0.5 if key.endswith("gamma") else torch.randn_like(p) / max(2, inputs**0.5))
        path.parent.mkdir(parents=True, exist_ok=True)
        wan_vae.save_wan_vae(vae, path)
    return name


def load_both(name):
    """Ours and core's VAE of a file; core's loader fixes the width of Wan 2.2's, so that its class is built narrow."""
    file = make_file(name)
    original = comfy.ldm.wan.vae2_2.WanVAE
    comfy.ldm.wan.vae2_2.WanVAE = lambda **sizes: original(**{**sizes, "dim": 4, "dec_dim": 8})
    try:
        return run("WanLiteVAELoader", vae_name=file)[0], run("VAELoader", vae_name=file)[0]
    finally:
        comfy.ldm.wan.vae2_2.WanVAE = original


@contextlib.contextmanager
def small_images():
    """Let the text encoding nodes, which bring every image to a megapixel, bring it to a small size."""
    qwen = node("TextEncodeQwenImageEditPlus").execute.__func__.__globals__
    joy = node("TextEncodeJoyImageEdit").execute.__func__.__globals__
    with patch.dict(qwen, {"int": lambda pixels: pixels // 256}), patch.dict(joy, {"BUCKETS_1024": [(64, 80)]}):
        yield


def run_use(use, vae, cut):
    declared = node(use.node).INPUT_TYPES()
    kinds = {name: kind[0] for part in declared.values() for name, kind in part.items()}
    made = Inputs(kinds, vae.latent_channels, cut)
    given = {name: made.make(name) for name in use.linked}
    given |= {name: value for name, value in use.widgets if name in kinds}
    given |= {name: value for name, value in SIZES.items() if name in kinds}
    torch.manual_seed(0)
    return collect(finish(list(run(use.node, vae=vae, **given))))


def compare(use, both, cut=0):
    """What differs between ours and core's, in words; an empty text where nothing does."""
    try:
        ours, cores = (run_use(use, vae, cut) for vae in both)
    except Exception as error:
        return f"{use}: {type(error).__name__}: {error}"
    if ours.keys() != cores.keys():
        return f"{use}: {sorted(ours.keys() ^ cores.keys())}"
    for path, expected in cores.items():
        got = ours[path]
        if got.shape != expected.shape or got.dtype != expected.dtype:
            return f"{use}{path}: {got.shape} {got.dtype}, core {expected.shape} {expected.dtype}"
        apart, largest = (got.double() - expected.double()).abs().max(), expected.double().abs().max()
        if apart > TOLERANCE * largest:
            return f"{use}{path}: apart {apart} of {largest}"
    return ""


def check_uses_of_wan_21_vae_give_what_cores_gives():
    compare_uses("wan_2.1_vae")


def check_uses_of_qwen_image_vae_give_what_cores_gives():
    compare_uses("qwen_image_vae")


def check_uses_of_the_other_files_give_what_cores_gives():
    compare_uses("Wan2_1_VAE", "wan2.2_vae", "qwen_image_layered_vae", "wan_alpha")


def compare_uses(*files):
    """Compare every use of some files on images, and on videos of a length of which core encodes a part."""
    vaes, wrong = {}, []
    for use in list_uses():
        if use.file.startswith(files):
            vaes[use.file] = vaes.get(use.file) or load_both(use.file)
            with small_images():
                wrong += [compare(use, vaes[use.file], cut) for cut in ((0, 1) if takes_video(use) else (0,))]
    assert not any(wrong), "\n".join(filter(None, wrong))


def check_the_nodes_are_those_of_the_templates():
    """Far fewer nodes than the templates of ComfyUI 0.33 have would mean that they were not read."""
    uses = list_uses()
    types = sorted({use.node for use in uses})
    log.info("%d types of nodes take the VAE in %d ways: %s", len(types), len(uses), ", ".join(types))
    assert len(types) >= 27 + len(BEYOND) or not find_templates(), types


def check_tiled_nodes_give_cores_untiled_images():
    for name in ("wan_2.1_vae.safetensors", "qwen_image_layered_vae.safetensors", "wan2.2_vae.safetensors"):
        ours, cores = load_both(name)
        image = torch.rand(1, 192, 256, ours.output_channels)
        (latent,) = run("VAEEncode", pixels=image, vae=cores)
        tiles = {"tile_size": 64, "overlap": 64}  # one tile's edge is the next one's middle: core blends them
        for node_id, given in (("VAEEncode", {"pixels": image}), ("VAEDecode", {"samples": latent})):
            (got,), (whole,) = (run(f"{node_id}{tiled}", **given, vae=vae, **more) for tiled, vae, more in (
                ("Tiled", ours, tiles), ("", cores, {})
            ))  # fmt: skip
            got, whole = (value["samples"] if isinstance(value, dict) else value for value in (got, whole))
            assert got.shape == whole.shape
            assert (got - whole).abs().max() <= TOLERANCE * whole.abs().max(), (name, node_id)
