"""The VAE nodes, and core's own nodes with our VAE object: against the official vectors and against core's VAE."""

import logging
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from harness import base, node, pack, raises, run, submodule, vectors

TOLERANCE = 2e-5
DEMO_VAE = "wan-lite-demo/vae.safetensors"


def load(precision="fp32", name="wan21_tiny.safetensors"):
    return run("WanLiteVAELoader", vae_name=name, precision=precision)[0]


def io(name="wan21_tiny"):
    return {key: value.float() for key, value in load_file(vectors() / "wan_vae" / f"{name}_io.safetensors").items()}


def to_image(pixels):
    """(b, 3, t, H, W) in [-1, 1] -> IMAGE (b t, H, W, 3) in [0, 1]."""
    return (pixels.clamp(-1, 1) * 0.5 + 0.5).movedim(1, -1).flatten(0, 1)


def to_raw(vae, normalised):
    model = vae.first_stage_model
    return normalised * model.latents_std.view(1, -1, 1, 1, 1) + model.latents_mean.view(1, -1, 1, 1, 1)


def close(got, expected, tolerance=TOLERANCE):
    assert got.shape == expected.shape, (got.shape, expected.shape)
    assert (got - expected).abs().max() <= tolerance, (got - expected).abs().max()


def check_image_through_our_nodes():
    for name in ("wan21_tiny", "wan22_tiny"):
        vae, golden = load(name=f"{name}.safetensors"), io(name)
        (latent,) = run("WanLiteVAEEncode", image=to_image(golden["img.pixels"]), vae=vae)
        close(latent["samples"], golden["img.mu_raw"])
        raw = to_raw(vae, golden["img.latent_norm"])
        image, _ = run("WanLiteVAEDecode", samples={"samples": raw}, vae=vae)
        close(image * 2 - 1, to_image(golden["img.decoded_unclamped"]) * 2 - 1)


def check_image_through_cores_nodes():
    vae, golden = load(), io()
    image = to_image(golden["img.pixels"])
    close(run("VAEEncode", pixels=image, vae=vae)[0]["samples"], golden["img.mu_raw"])
    close(run("VAEEncodeTiled", pixels=image, vae=vae, tile_size=64, overlap=64)[0]["samples"], golden["img.mu_raw"])
    samples = {"samples": to_raw(vae, golden["img.latent_norm"])}
    expected = to_image(golden["img.decoded_unclamped"])
    close(run("VAEDecode", samples=samples, vae=vae)[0], expected, TOLERANCE / 2)
    close(run("VAEDecodeTiled", samples=samples, vae=vae, tile_size=64, overlap=64)[0], expected, TOLERANCE / 2)


def check_video_through_cores_nodes():
    for name in ("wan21_tiny", "wan22_tiny"):
        vae, golden = load(name=f"{name}.safetensors"), io(name)
        close(run("VAEEncode", pixels=to_image(golden["clip5.pixels"]), vae=vae)[0]["samples"], golden["clip5.mu_raw"])
        samples = {"samples": to_raw(vae, golden["clip5.latent_norm"])}
        expected = to_image(golden["clip5.decoded_unclamped"])
        close(run("VAEDecode", samples=samples, vae=vae)[0], expected, TOLERANCE / 2)
        close(run("WanLiteVAEDecode", samples=samples, vae=vae)[0], expected, TOLERANCE / 2)


def check_video_of_another_length_is_cut_as_core_cuts_it_and_said():
    ours, (cores,) = load(), run("VAELoader", vae_name="wan21_tiny.safetensors")
    for frames, used in ((2, 1), (3, 1), (8, 5)):
        images = torch.rand(frames, 16, 16, 3)
        with Records() as records:
            (latent,) = run("VAEEncode", pixels=images, vae=ours)
        close(latent["samples"], run("VAEEncode", pixels=images, vae=cores)[0]["samples"])
        (said,) = [record.getMessage() for record in records if "left out" in record.getMessage()]
        assert f"last {frames - used} of {frames} frames" in said, said
    message = raises(ValueError, ours.encode_pixels, torch.rand(1, 3, 3, 16, 16), submodule("models.wan_vae").Tiling())
    assert "3" in message and "4" in message, message


class Records(logging.Handler):
    """What is logged while this is the context."""

    def __enter__(self):
        self.found = []
        logging.getLogger().addHandler(self)
        return self.found

    def __exit__(self, *_):
        logging.getLogger().removeHandler(self)

    def emit(self, record):
        self.found.append(record)


def check_same_as_cores_own_vae():
    ours = load()
    (cores,) = run("VAELoader", vae_name="wan21_tiny.safetensors")
    image = torch.rand(1, 64, 48, 3, generator=torch.Generator().manual_seed(1))
    (latent,) = run("VAEEncode", pixels=image, vae=ours)
    close(latent["samples"], run("VAEEncode", pixels=image, vae=cores)[0]["samples"])
    close(run("VAEDecode", samples=latent, vae=ours)[0], run("VAEDecode", samples=latent, vae=cores)[0])
    # and our nodes take core's VAE
    close(run("WanLiteVAEEncode", image=image, vae=cores)[0]["samples"], latent["samples"])
    close(run("WanLiteVAEDecode", samples=latent, vae=cores)[0], run("WanLiteVAEDecode", samples=latent, vae=ours)[0])


def check_batch_of_images_stays_images():
    vae = load()
    images = torch.rand(3, 32, 40, 3, generator=torch.Generator().manual_seed(2))
    (latent,) = run("WanLiteVAEEncode", image=images, vae=vae)
    assert latent["samples"].shape == (3, 16, 1, 4, 5)
    for index in range(3):
        (alone,) = run("WanLiteVAEEncode", image=images[index : index + 1], vae=vae)
        assert torch.equal(alone["samples"][0], latent["samples"][index])
    decoded, _ = run("WanLiteVAEDecode", samples=latent, vae=vae)
    assert decoded.shape == (3, 32, 40, 3)
    alone, _ = run("WanLiteVAEDecode", samples={"samples": latent["samples"][1:2]}, vae=vae)
    assert torch.equal(alone[0], decoded[1])


def check_tiled_equals_untiled():
    vae = load()
    image = torch.rand(1, 512, 384, 3, generator=torch.Generator().manual_seed(3))
    (whole,) = run("WanLiteVAEEncode", image=image, vae=vae, tiling="off")
    decoded, _ = run("WanLiteVAEDecode", samples=whole, vae=vae, tiling="off")
    assert submodule("models.wan_vae.memory")._CPU_CHUNK < 512 * 384, "the image must be more than one chunk"
    (chunked,) = run("WanLiteVAEEncode", image=image, vae=vae, tiling="budget", budget_mb=64)
    close(chunked["samples"], whole["samples"], 1e-5)
    close(run("WanLiteVAEDecode", samples=whole, vae=vae, tiling="budget", budget_mb=64)[0], decoded, 1e-5)
    close(run("WanLiteVAEDecode", samples=whole, vae=vae, tiling="auto")[0], decoded, 1e-5)
    close(run("VAEDecodeTiled", samples=whole, vae=vae, tile_size=128, overlap=32)[0], decoded, 1e-5)
    close(run("VAEEncodeTiled", pixels=image, vae=vae, tile_size=128, overlap=32)[0]["samples"], whole["samples"], 1e-5)


def check_a_budget_below_the_least_is_said_on_the_node():
    vae, model, tiling = load(), submodule("nodes.host.vae_model"), submodule("models.wan_vae").Tiling
    shown, original = [], model.show_sentence
    model.show_sentence = shown.append
    try:
        latent, image = torch.randn(1, 16, 1, 8, 12), torch.rand(1, 64, 96, 3)
        run("WanLiteVAEDecode", samples={"samples": latent}, vae=vae, tiling="budget", budget_mb=64)
        run("VAEDecodeTiled", samples={"samples": latent}, vae=vae, tile_size=64, overlap=0)  # no budget of the user's
        assert not shown, shown
        model.decode_latents(vae, latent, tiling("budget", 8))
        model.encode_images(vae, image, tiling("budget", 8))
        list(model.decode_video(vae, latent.expand(-1, -1, 2, -1, -1), tiling("budget", 8)))
        assert len(shown) == 3 and all("8 MB; 96x64 pixels take at least" in text for text in shown), shown
    finally:
        model.show_sentence = original


def check_bad_input():
    vae = load()
    message = raises(ValueError, run, "WanLiteVAEEncode", image=torch.rand(1, 33, 40, 3), vae=vae)
    assert "40x33" in message and "multiples of 8" in message and "40x32" in message, message
    for decode in ("WanLiteVAEDecode", "VAEDecode"):
        message = raises(ValueError, run, decode, samples={"samples": torch.zeros(1, 48, 1, 2, 2)}, vae=vae)
        assert "48" in message and "16" in message and "Wan 2.2" in message, message
    message = raises(ValueError, load, name="../vae/wan21_tiny.safetensors")
    assert "vae_name" in message and "models/vae" in message, message


def check_images_that_cannot_be_encoded():
    vae = load()
    (cores,) = run("VAELoader", vae_name="wan21_tiny.safetensors")
    cases = (
        (torch.rand(1, 32, 32, 5), "[1, 32, 32, 5]"),
        (torch.rand(1, 32, 32, 1), "[1, 32, 32, 1]"),
        (torch.rand(32, 32, 3), "[32, 32, 3]"),
        (torch.rand(0, 32, 32, 3), "[0, 32, 32, 3]"),
        (torch.rand(1, 0, 32, 3), "[1, 0, 32, 3]"),
        (torch.rand(1, 4, 70, 3), "70x4"),
        (torch.zeros(1, 32, 32, 3, dtype=torch.uint8), "uint8"),
        (torch.full((1, 32, 32, 3), torch.nan), "NaN"),
        (torch.full((1, 32, 32, 3), torch.inf), "infinite"),
        (torch.full((1, 32, 32, 3), 255.0), "[0, 1]"),
        (torch.full((1, 32, 32, 3), -1.0), "[0, 1]"),
    )
    for image, said in cases:
        for used in (vae, cores):
            message = raises(ValueError, run, "WanLiteVAEEncode", image=image, vae=used)
            assert said in message and "image" in message and len(message) <= 400, message
        if image.ndim > 3 and image.shape[0]:
            message = raises(ValueError, run, "VAEEncode", pixels=image, vae=vae)
            assert said in message and "image" in message, message


def check_latents_that_cannot_be_decoded():
    vae = load()
    (cores,) = run("VAELoader", vae_name="wan21_tiny.safetensors")
    for shape in ((16, 4, 4), (0, 16, 1, 4, 4), (1, 16, 1, 0, 4), (1, 1, 16, 1, 4, 4), (4,)):
        for used in (vae, cores):
            message = raises(ValueError, run, "WanLiteVAEDecode", samples={"samples": torch.zeros(shape)}, vae=used)
            assert str(list(shape)) in message and len(message) <= 400, message
        message = raises(ValueError, run, "VAEDecode", samples={"samples": torch.zeros(shape)}, vae=vae)
        assert str(list(shape)) in message or "unsqueeze" in message, message


def check_images_that_are_not_finite_are_errors():
    """A latent, or weights, from which no image can come; with our VAE and core's, in our node and core's."""
    ours, (cores,) = load(), run("VAELoader", vae_name="wan21_tiny.safetensors")
    bad = {"samples": torch.full((1, 16, 1, 4, 4), torch.nan)}
    for node_id, vae in (("WanLiteVAEDecode", ours), ("VAEDecode", ours), ("WanLiteVAEDecode", cores)):
        message = raises(ArithmeticError, run, node_id, samples=bad, vae=vae)
        assert "decoded image" in message and "latent" in message, message
    ours.first_stage_model.decoder.conv1.weight.data.fill_(1e38)
    message = raises(ArithmeticError, run, "VAEDecode", samples={"samples": torch.randn(1, 16, 1, 4, 4)}, vae=ours)
    assert "decoder.conv1.weight" in message, message


def check_precision():
    import comfy.model_management

    golden = io()
    for precision, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("auto", torch.float32)):
        vae = load(precision)
        if precision == "auto":
            dtype = comfy.model_management.vae_dtype(vae.device, [torch.bfloat16, torch.float32])
        assert vae.first_stage_model.conv1.weight.dtype == vae.vae_dtype == dtype
        image, _ = run("WanLiteVAEDecode", samples={"samples": to_raw(vae, golden["img.latent_norm"])}, vae=vae)
        error = (image - to_image(golden["img.decoded_unclamped"])).square().mean().sqrt()
        assert image.dtype == torch.float32 and error < 2e-2, (precision, error)


def check_alpha_is_dropped():
    vae = load()
    image = torch.rand(1, 32, 32, 4)
    (with_alpha,) = run("WanLiteVAEEncode", image=image, vae=vae)
    (without,) = run("WanLiteVAEEncode", image=image[..., :3], vae=vae)
    assert torch.equal(with_alpha["samples"], without["samples"])


def check_saved_by_core_loads_back():
    import tempfile

    from safetensors.torch import save_file

    vae = load()
    with tempfile.TemporaryDirectory() as folder:
        weights = {key: value.contiguous() for key, value in vae.get_sd().items()}
        save_file(weights, f"{folder}/saved.safetensors")
        again = submodule("models.wan_vae").load_wan_vae(f"{folder}/saved.safetensors", torch.float32)
    z = torch.randn(1, 16, 1, 4, 4)
    assert torch.equal(again.decode_raw(z), vae.first_stage_model.decode_raw(z))


def check_other_packs_find_what_cores_vae_has():
    """Attributes that core's class sets and other people's nodes read."""
    (cores,) = run("VAELoader", vae_name="wan21_tiny.safetensors")
    ours = load()
    missing = {name for name in vars(cores) if not hasattr(ours, name)} - {"conv_out_channels"}
    assert not missing, missing
    for name in (
        "latent_channels",
        "latent_dim",
        "output_channels",
        "upscale_index_formula",
        "downscale_index_formula",
    ):
        assert getattr(ours, name) == getattr(cores, name), name
    assert ours.temporal_compression_decode() == cores.temporal_compression_decode()
    assert ours.spacial_compression_encode() == cores.spacial_compression_encode() == 8
    assert [ours.downscale_ratio[0](t) for t in (1, 5, 9)] == [cores.downscale_ratio[0](t) for t in (1, 5, 9)]
    assert isinstance(ours, type(cores)) and node("VAEDecode")


def demo_vae():
    return Path(pack().__file__).parent / "demo" / "models" / "vae" / DEMO_VAE


def check_cores_loader_takes_the_demo_vae():
    """Core lists it by the same name; to core it is an ordinary Wan 2.1 VAE: encoder and decoder give our images."""
    demo_vae()
    assert DEMO_VAE in node("VAELoader").vae_list(node("VAELoader"))
    (cores,) = run("VAELoader", vae_name=DEMO_VAE)
    ours = load(name=DEMO_VAE)
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    (latent,) = run("VAEEncode", pixels=image, vae=cores)
    close(run("WanLiteVAEEncode", image=image, vae=ours)[0]["samples"], latent["samples"], 1e-4)
    (decoded,) = run("VAEDecode", samples=latent, vae=cores)
    close(run("WanLiteVAEDecode", samples=latent, vae=ours)[0], decoded, 1e-4)


def check_a_users_own_file_comes_before_the_demos():
    """By the same name the user's file is loaded, by core's loader and by ours; the list has the name once."""
    own = base() / "models" / "vae" / DEMO_VAE
    shipped = demo_vae()
    own.parent.mkdir()
    try:
        shutil.copyfile(base() / "models" / "vae" / "wan21_tiny.safetensors", own)
        assert submodule("nodes.host.folders").find_model("vae", DEMO_VAE, "vae_name") == own
        (cores,) = run("VAELoader", vae_name=DEMO_VAE)
        expected = load_file(own)["decoder.conv1.weight"]
        assert load_file(shipped)["decoder.conv1.weight"].shape != expected.shape
        assert cores.first_stage_model.decoder.conv1.weight.shape == expected.shape
        tiny = {name: value.shape for name, value in load().first_stage_model.state_dict().items()}
        assert {name: value.shape for name, value in load(name=DEMO_VAE).first_stage_model.state_dict().items()} == tiny
        assert submodule("nodes.host.folders").list_models("vae").count(DEMO_VAE) == 1
    finally:
        shutil.rmtree(own.parent)
    assert submodule("nodes.host.folders").find_model("vae", DEMO_VAE, "vae_name").samefile(shipped)


def check_the_demos_files_come_last_in_our_lists():
    demo_vae()
    for kind in ("vae", "wan_students", "wan_lite_embeds", "world_models"):
        demo = [name.startswith("wan-lite-demo/") for name in submodule("nodes.host.folders").list_models(kind)]
        assert any(demo) and demo == sorted(demo), kind
