"""What the host does on a card only: weights in dynamic memory, none kept on the device, attention by choice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import comfy.ldm.modules.attention as attention
import comfy.model_management as management
import comfy.model_patcher
import tiny_models
import torch
from heard import Heard
from meta_card import pretend_card
from safetensors.torch import save_file
from students import flow, sample

from harness import base, run, submodule

DOWN, UP, KEY = 2, 0.01, "blocks.0.mlp.0"


@contextmanager
def dynamic_memory() -> Iterator[None]:
    """Let the host make dynamic patchers, as it does on NVIDIA's cards: here for the CPU, without its native part."""
    library = getattr(comfy.model_patcher, "comfy_aimdo", None)
    with (
        mock.patch.object(management, "is_device_cpu", lambda device: False),
        mock.patch.object(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcherDynamic),
        mock.patch.object(library.host_buffer, "HostBuffer", mock.MagicMock(), create=True),
        mock.patch.object(comfy.model_patcher.ModelPatcherDynamic, "partially_unload", lambda *args, **kwargs: 0),
        mock.patch.object(comfy.model_patcher.ModelPatcherDynamic, "partially_unload_ram", lambda *args, **kwargs: 0),
        mock.patch.object(management, "current_loaded_models", []),
    ):
        yield


def has_dynamic_memory() -> bool:
    return hasattr(comfy.model_patcher, "ModelPatcherDynamic")


def add_lora(model: Any, name: str) -> Any:
    weight = model.model.diffusion_model.get_submodule(KEY).weight
    low = {f"diffusion_model.{KEY}.lora_A.weight": torch.full((DOWN, weight.shape[1]), UP)}
    high = {f"diffusion_model.{KEY}.lora_B.weight": torch.full((weight.shape[0], DOWN), UP)}
    folder = base() / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(low | high, folder / f"{name}.safetensors")
    return run("LoraLoaderModelOnly", model=model, lora_name=f"{name}.safetensors", strength_model=1.0)[0]


def check_a_student_is_saved_with_its_lora_under_dynamic_memory() -> None:
    if not has_dynamic_memory():
        return
    saving = submodule("nodes.host.student_model")
    plain = flow("student_4ch").model.diffusion_model.get_submodule(KEY).weight.clone()
    with dynamic_memory(), torch.inference_mode():
        model = add_lora(flow("student_4ch"), "dynamic")
        assert model.is_dynamic()
        student = saving.to_student(model)
    saved = student.network.get_submodule(KEY).weight
    assert torch.allclose(saved, plain + DOWN * UP * UP, rtol=0, atol=1e-6), float((saved - plain).abs().max())


def check_a_student_is_saved_with_its_lora_without_it() -> None:
    saving = submodule("nodes.host.student_model")
    plain = flow("student_4ch").model.diffusion_model.get_submodule(KEY).weight.clone()
    saved = saving.to_student(add_lora(flow("student_4ch"), "plain")).network.get_submodule(KEY).weight
    assert torch.allclose(saved, plain + DOWN * UP * UP, rtol=0, atol=1e-6)


def check_vae_and_world_are_loaded_whole_where_the_host_keeps_nothing_on_the_device() -> None:
    """``--novram`` spends no byte on weights; layers that cannot fetch theirs would stay on the CPU."""
    with pretend_card(vram_state=management.VRAMState.NO_VRAM) as card:
        (vae,) = run("WanLiteVAELoader", vae_name="wan21_tiny.safetensors")
        vae._load_weights(False, 0)
        assert {weight.device for weight in vae.first_stage_model.parameters()} == {card}
        world = submodule("nodes.host.world_model").HostedWorld(submodule("benchmarks.worlds").make_world(16))
        assert {weight.device for weight in world.load(2).parameters()} == {card}


def check_a_video_does_not_leave_a_dead_model_behind() -> None:
    """The weights that only videos need come with the first one; the host knows the VAE as the same model after it."""
    (vae,) = run("WanLiteVAELoader", vae_name="wan21_tiny.safetensors")
    image, video = torch.randn(1, 16, 1, 4, 4), torch.randn(1, 16, 2, 4, 4)
    heard = Heard(logging.NOTSET)
    with heard:
        for latent in (image, video, image, video):
            vae.decode(latent)
        assert not [loaded for loaded in management.current_loaded_models if loaded.is_dead()]
    assert not [line for line in heard.lines if "leak" in line], heard.lines


def check_experts_with_hooks_under_dynamic_memory_use_patchers_that_have_them() -> None:
    """Both experts: the host's own guider only knows of the one that it holds."""
    if not has_dynamic_memory():
        return
    high, low = tiny_models.wan(seed=1), tiny_models.wan(seed=2)
    delegates = {id(model): model.clone() for model in (high, low)}
    make = submodule("nodes.host.experts_guider")
    guidance = make.Guidance(0.875, 1.0, 1.0)
    guider = make.make_experts(high, low, guidance, "ignore")
    for expert, own in ((guider.high, high), (guider.low, low)):
        expert.patcher.is_dynamic = lambda: True
        expert.patcher.get_non_dynamic_delegate = lambda own=own: delegates[id(own)]
    positive = tiny_models.text(seed=3)
    guider.set_prompts(positive, None)
    assert guider.high.patcher is not delegates[id(high)]
    hooked = [[positive[0][0], {**positive[0][1], "hooks": mock.MagicMock()}]]
    guider.set_prompts(hooked, None)
    assert guider.high.patcher is delegates[id(high)] and guider.low.patcher is delegates[id(low)]
    assert guider.model_patcher is guider.high.patcher


def check_the_students_attention_is_the_one_that_was_chosen() -> None:
    model = flow("student_4ch")
    expected = sample("WanLiteFlowUniPCSampler", model, "student_4ch", seed=1, steps=1)[0]["samples"]
    asked: list[tuple[int, ...]] = []

    def override(function: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(tuple(query.shape))
        return function(query, *args, **kwargs)

    patched = model.clone()
    patched.model_options["transformer_options"]["optimized_attention_override"] = override
    found = sample("WanLiteFlowUniPCSampler", patched, "student_4ch", seed=1, steps=1)[0]["samples"]
    assert asked and len(asked[0]) == 4
    assert torch.allclose(found, expected, atol=1e-5)
    sage = mock.MagicMock(side_effect=attention.attention_basic)
    with (
        mock.patch.object(attention, "attention_sage", sage),
        mock.patch.object(attention, "optimized_attention", sage),
    ):
        found = sample("WanLiteFlowUniPCSampler", model, "student_4ch", seed=1, steps=1)[0]["samples"]
    assert sage.call_count == len(asked) and torch.allclose(found, expected, atol=1e-5)


def check_fp32_is_float32_on_cards_that_would_round() -> None:
    """NVIDIA's since Ampere take ten bits of a factor in a convolution, unless they are told not to."""
    seen: list[bool] = []
    (vae,) = run("WanLiteVAELoader", vae_name="wan21_tiny.safetensors", precision="fp32")
    vae_module = submodule("models.wan_vae.vae")
    original = vae_module.decode_batch

    def decode_batch(*args: Any, **kwargs: Any) -> Any:
        seen.append(torch.backends.cudnn.allow_tf32)
        return original(*args, **kwargs)

    assert torch.backends.cudnn.allow_tf32
    model = flow("student_4ch")
    model.model.diffusion_model.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    for has_cudnn in (True, False):
        with (
            mock.patch.object(submodule("nodes.host.card.float32"), "has_cudnn", lambda has=has_cudnn: has),
            mock.patch.object(vae_module, "decode_batch", decode_batch),
        ):
            vae.decode(torch.randn(1, 16, 1, 4, 4))
            sample("WanLiteFlowUniPCSampler", model, "student_4ch", seed=1, steps=1)
        assert len(seen) >= 2 and set(seen) == {not has_cudnn} and torch.backends.cudnn.allow_tf32
        seen.clear()


def check_torchs_newer_switch_for_convolutions_is_respected() -> None:
    """Torch refuses to read the old switch once the new one was moved."""
    float32, conv = submodule("nodes.host.card.float32"), torch.backends.cudnn.conv
    before = conv.fp32_precision
    try:
        with mock.patch.object(float32, "has_cudnn", lambda: True):
            for chosen in ("ieee", before):
                conv.fp32_precision = chosen
                with float32.full_float32(torch.float32):
                    pass
                assert conv.fp32_precision == chosen
    finally:
        conv.fp32_precision = before


def check_an_image_for_a_narrow_student_is_projected_wherever_it_lies() -> None:
    """The least squares are made on the CPU: not every device has them."""
    model = flow("student_4ch")
    own = model.get_model_object("latent_format")
    latent = torch.randn(1, 16, 1, 4, 4)
    expected = own.process_in(latent)
    assert torch.allclose(own.process_in(own.process_out(expected)), expected, atol=1e-4)
    with submodule("benchmarks.counting").count_calls() as counts:
        own.process_in(latent.to("meta"))
    assert counts.host_reads == counts.copies_to_host == 0
