"""Every member of the family: told by its tensors, built, saved, loaded and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from wan_lite.models.checkpoint import CheckpointError
from wan_lite.models.wan_vae import VAEFile, WanVAE, WanVAEConfig, load_wan_vae, save_wan_vae
from wan_lite.models.wan_vae.family import name_member
from wan_lite.pipeline.inspection import inspect

MEMBERS: dict[str, dict[str, Any]] = {
    "Wan 2.1 VAE": {"dim": 96},
    "Wan 2.2 VAE": {"patch_size": 2, "z_dim": 48},
    "Qwen-Image-Layered VAE": {"in_channels": 4, "out_channels": 4},
    "Wan 2.1 VAE that decodes to 2 times the size": {"upscale": 2},
    "pruned Wan 2.1 VAE": {"dim": 24},
}


def make_vae(**options: Any) -> WanVAE:
    torch.manual_seed(0)
    small = {"num_res_blocks": 1, "dim_mult": (1, 1, 1, 1)} if options.get("dim", 8) > 8 else {}
    vae = WanVAE(WanVAEConfig(**{"dim": 8, **small, **options}), video=True).requires_grad_(False)
    for p in vae.parameters():
        p.copy_(torch.randn_like(p) * 0.1)
    return vae


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("layout", ["official", "diffusers"])
def test_a_renamed_file_is_known_by_its_tensors(name: str, layout: str, tmp_path: Path) -> None:
    vae = make_vae(**MEMBERS[name])
    path = save_wan_vae(vae, tmp_path / "anything.safetensors", layout)
    file = VAEFile(path)
    assert file.config == vae.config
    assert file.member.name.startswith(name) and file.member.told_by
    shown = str(inspect(path))
    assert file.member.name in shown and file.member.told_by in shown


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_makes_images_of_its_size(name: str, tmp_path: Path) -> None:
    vae = make_vae(**MEMBERS[name])
    config = vae.config
    again = load_wan_vae(save_wan_vae(vae, tmp_path / "vae.safetensors"))
    pixels = torch.rand(1, config.in_channels, 1, 2 * config.spatial_factor, 3 * config.spatial_factor)
    z = again.encode(pixels)
    assert z.shape == (1, config.z_dim, 1, 2, 3)
    y = again.decode(z)
    assert y.shape == (1, config.out_channels, 1, 2 * config.output_factor, 3 * config.output_factor)
    assert torch.equal(y, vae.decode(z))
    assert torch.allclose(y, vae.decode(z.clone().requires_grad_()), atol=2e-5)


def test_the_larger_image_is_the_shuffled_head() -> None:
    vae = make_vae(upscale=2)
    z = torch.randn(1, 16, 1, 2, 2)
    plain = WanVAE(WanVAEConfig(dim=8, out_channels=12), video=True).requires_grad_(False)
    plain.load_state_dict(vae.state_dict())
    expected = torch.nn.functional.pixel_shuffle(plain.decode_raw(z, clamp=False)[:, :, 0], 2)
    assert torch.equal(vae.decode_raw(z, clamp=False)[:, :, 0], expected)


def test_an_image_only_decoder_refuses_videos() -> None:
    vae = make_vae(upscale=2)
    with pytest.raises(ValueError, match=r"a video of 3 latent frames .* images only, at 2 times the size"):
        vae.decode(torch.zeros(1, 16, 3, 2, 2))
    with pytest.raises(ValueError, match="images only"):
        vae.decode_frames(torch.zeros(1, 16, 3, 2, 2))


def test_alpha_is_asked_for_where_it_is_encoded() -> None:
    vae = make_vae(in_channels=4)
    with pytest.raises(ValueError, match=r"pixels has 3 channels .* red, green, blue, alpha"):
        vae.encode(torch.zeros(1, 3, 1, 16, 16))


@pytest.mark.parametrize(
    "file, class_name, name",
    [
        ("qwen_image_vae.safetensors", "", "Qwen-Image VAE"),
        ("diffusion_pytorch_model.safetensors", "AutoencoderKLQwenImage", "Qwen-Image VAE"),
        ("wan_alpha_2.1_vae_alpha_channel.safetensors", "", "Wan-Alpha's VAE of the alpha channel"),
        ("wan_alpha_2.1_vae_rgb_channel.safetensors", "", "Wan-Alpha's VAE of the colours"),
        ("Wan2.1_VAE.pth", "", "Wan 2.1 VAE"),
    ],
)
def test_what_tensors_do_not_tell_the_name_does(file: str, class_name: str, name: str) -> None:
    assert name_member(WanVAEConfig(), file, class_name).name.startswith(name)


FOREIGN = {
    "TAEHV": {"decoder.1.weight": (64, 16, 3, 3), "decoder.22.bias": (3,), "encoder.0.weight": (64, 3, 3, 3)},
    "LTX-Video": {"decoder.up_blocks.0.res_blocks.0.conv1.conv.weight": (4, 4, 3, 3, 3)},
    "CogVideoX": {
        "decoder.conv_in.conv.weight": (4, 4, 3, 3, 3),
        "decoder.mid_block.resnets.0.norm1.norm_layer.weight": (4,),
    },
    "Hunyuan Video": {"decoder.conv_in.conv.weight": (4, 16, 3, 3, 3), "decoder.mid.block_1.norm1.weight": (4,)},
    "Stable Diffusion or Flux": {"decoder.mid.block_1.norm1.weight": (4,), "encoder.down.0.block.0.norm1.weight": (4,)},
    "VAE of Stable Diffusion or Flux": {"decoder.mid_block.resnets.0.norm1.weight": (4,)},
    "Wan video model": {"patch_embedding.weight": (8, 16, 1, 2, 2), "blocks.0.self_attn.q.weight": (8, 8)},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_vae_is_named_for_what_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / "wan_2.1_vae.safetensors"
    save_file({key: torch.zeros(shape) for key, shape in FOREIGN[name].items()}, path)
    with pytest.raises(CheckpointError, match=f"is not a Wan VAE: it looks like .*{name}") as caught:
        load_wan_vae(path)
    assert "\n" not in str(caught.value)


def test_a_qwen_folder_is_read(tmp_path: Path) -> None:
    """Weights in diffusers' names and AutoencoderKLQwenImage's own config.json."""
    vae = make_vae()
    folder = tmp_path / "vae"
    save_wan_vae(vae, folder, "diffusers")
    config = folder / "config.json"
    config.write_text(config.read_text().replace("AutoencoderKLWan", "AutoencoderKLQwenImage"))
    assert VAEFile(folder).member.name == "Qwen-Image VAE"
    z = torch.randn(1, 16, 1, 2, 2)
    assert torch.equal(load_wan_vae(folder).decode(z), vae.decode(z))
    assert "Qwen-Image VAE" in str(inspect(folder))


@pytest.mark.parametrize("frames", [1, 5])
def test_diffusers_qwen_image_agrees(frames: int) -> None:
    """Its own implementation with the same random weights, both ways."""
    diffusers = pytest.importorskip("diffusers")
    from wan_lite.models.wan_vae import official_state_dict
    from wan_lite.models.wan_vae.key_map import to_diffusers

    vae = make_vae()
    theirs = (
        diffusers.AutoencoderKLQwenImage(
            base_dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True]
        )
        .eval()
        .requires_grad_(False)
    )
    theirs.load_state_dict({to_diffusers(k, vae.config): v for k, v in official_state_dict(vae).items()}, strict=True)
    pixels = torch.rand(1, 3, frames, 16, 24) * 2 - 1
    z = torch.randn(1, 16, 1 + (frames - 1) // 4, 2, 3)
    assert (vae.encode_raw(pixels) - theirs.encode(pixels).latent_dist.mean).abs().max() <= 2e-5
    assert (vae.decode_raw(z) - theirs.decode(z).sample.clamp(-1, 1)).abs().max() <= 2e-5
