"""The Wan 2.1 VAE's family in our loader and core's: random weights of each layout, through core's nodes."""

import inspect
from pathlib import Path

import torch
from comfy.ldm.wan.vae import WanVAE as CoresVAE

from harness import Absent, base, raises, run, submodule

TOLERANCE = 2e-5
MEMBERS = {
    "wan_2.1_vae": {},
    "qwen_image_layered_vae": {"in_channels": 4, "out_channels": 4},
    "wan_vae_upscale2x": {"upscale": 2},
    "lightvaew2_1": {"dim": 24},
}


def make(name):
    """Write random weights of a member's layout, and return the file's name in models/vae."""
    wan_vae = submodule("models.wan_vae")
    torch.manual_seed(0)
    config = wan_vae.WanVAEConfig(**{"dim": 8, **MEMBERS[name]})
    vae = wan_vae.WanVAE(config, video=True).requires_grad_(False)
    for tensor_name, p in vae.named_parameters():
        inputs = p[0].numel() * (p.shape[1] if tensor_name.endswith(".past") else 1) if p.ndim > 1 else 1
        p.copy_(
            torch.rand_like(p) + 0.5 if tensor_name.endswith("gamma") else torch.randn_like(p) / max(2, inputs**0.5)
        )
    file = f"family/{name}.safetensors"
    path = Path(base()) / "models" / "vae" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    wan_vae.save_wan_vae(vae, path)
    return file


def load_both(name):
    if name == "wan_vae_upscale2x" and "conv_out_channels" not in inspect.signature(CoresVAE).parameters:
        raise Absent(f"this ComfyUI's own VAE cannot load {name} yet")
    file = make(name)
    return run("WanLiteVAELoader", vae_name=file, precision="fp32")[0], run("VAELoader", vae_name=file)[0]


def close(got, expected):
    assert got.shape == expected.shape, (got.shape, expected.shape)
    assert (got - expected).abs().max() <= TOLERANCE, (got - expected).abs().max()


def shuffle(images, times):
    """What the decoder gives, (b, h, w, 3 r r), as images r times as high and wide."""
    return torch.nn.functional.pixel_shuffle(images.movedim(-1, 1), times).movedim(1, -1)


def check_every_member_decodes_as_core():
    for name, options in MEMBERS.items():
        ours, cores = load_both(name)
        times = options.get("upscale", 1)
        for frames in (1,) if times > 1 else (1, 3):
            latent = {"samples": torch.randn(1, 16, frames, 4, 6)}
            expected = run("VAEDecode", samples=latent, vae=cores)[0]
            expected = shuffle(expected, times) if times > 1 else expected
            for node_id, tiles in (("VAEDecode", {}), ("VAEDecodeTiled", {"tile_size": 64, "overlap": 64})):
                close(run(node_id, samples=latent, vae=ours, **tiles)[0], expected)
            image, mask = run("WanLiteVAEDecode", samples=latent, vae=ours)
            close(image, expected)
            assert mask.shape == image.shape[:3]
            close(mask, 1 - image[..., 3] if image.shape[-1] == 4 else torch.zeros_like(mask))


def check_every_member_encodes_as_core():
    for name in MEMBERS:
        ours, cores = load_both(name)
        for channels in (3, 4):
            images = torch.rand(5, 32, 48, channels)
            close(
                run("VAEEncode", pixels=images, vae=ours)[0]["samples"],
                run("VAEEncode", pixels=images, vae=cores)[0]["samples"],
            )


def check_sizes_for_cores_nodes():
    for name, options in MEMBERS.items():
        ours, cores = load_both(name)
        assert ours.latent_channels == cores.latent_channels == 16
        assert ours.spacial_compression_encode() == cores.spacial_compression_encode() == 8
        assert ours.spacial_compression_decode() == 8 * options.get("upscale", 1)
        assert ours.output_channels == options.get("out_channels", 3)


def check_a_video_for_an_image_only_decoder_is_refused():
    ours, _ = load_both("wan_vae_upscale2x")
    for node_id in ("VAEDecode", "WanLiteVAEDecode", "WanLiteSaveVideo"):
        message = raises(ValueError, run, node_id, samples={"samples": torch.zeros(1, 16, 3, 4, 4)}, vae=ours)
        assert "images only" in message, message


def check_join_alpha():
    colours, alpha = torch.rand(2, 8, 8, 3), torch.rand(2, 8, 8, 1).expand(-1, -1, -1, 3)
    joined, mask = run("WanLiteJoinAlpha", image=colours, alpha=alpha)
    assert torch.equal(joined, torch.cat([colours, alpha[..., :1]], -1)) and torch.equal(mask, 1 - alpha[..., 0])
    (cores,) = run("JoinImageWithAlpha", image=colours, alpha=mask)
    assert torch.allclose(joined, cores, atol=1e-6)
    message = raises(ValueError, run, "WanLiteJoinAlpha", image=colours, alpha=alpha[:1])
    assert "decode both from the same latent" in message, message


def check_a_video_is_saved_as_it_is_decoded():
    import av

    ours, cores = load_both("wan_2.1_vae")
    latent = {"samples": torch.randn(1, 16, 4, 4, 6)}
    counts = []
    for vae in (ours, cores):
        shown = run("WanLiteSaveVideo", samples=latent, vae=vae, filename_prefix="family/clip", format="mkv").ui
        (saved,) = shown["images"]
        with av.open(str(Path(base()) / "output" / saved["subfolder"] / saved["filename"])) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        counts.append((len(frames), frames[0].shape))
    assert counts == [(13, (32, 48, 3))] * 2, counts
    message = raises(ValueError, run, "WanLiteSaveVideo", samples={"samples": torch.zeros(2, 16, 1, 4, 4)}, vae=ours)
    assert "one video" in message, message
