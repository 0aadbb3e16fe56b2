"""World models inside the host: opened, rolled out as the library does, shown, interrupted, given back."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.utils
import torch
from safetensors.torch import save_file

from harness import base, node, raises, run, submodule

CURRENT = "tinyworlds/current/checkpoints_current/results/2026_01_01_00_00_00"
JULY = "tinyworlds/legacy"


def opened(name: str = CURRENT):
    return run("WanLiteWorldLoader", world_name=name)[0]


def clip(world, frames: int = 4, seed: int = 0) -> torch.Tensor:
    """An IMAGE batch of the world's size, in steps of 1/255."""
    size = world.sizes.frame_size
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, size, size, 3), generator=generator) / 255.0


def in_world_range(image: torch.Tensor) -> torch.Tensor:
    return image.permute(0, 3, 1, 2)[None] * 2.0 - 1.0


def rolled(world, context, **inputs: Any):
    return run("WanLiteWorldRollout", world=world, context=context, **inputs)


# Loading -------------------------------------------------------------------------------------------------------------


def check_the_list_has_one_entry_for_each_world() -> None:
    names = submodule("nodes.host.world_model").list_worlds()
    assert CURRENT in names and JULY in names, names
    assert "tinyworlds" not in names, "a folder of several worlds is no world"
    assert not any(name.endswith(("model_state_dict.pt", "optim_state_dict.pt", "state.pt")) for name in names), names
    assert any(name.endswith("dynamics_step_0") for name in names), names
    assert any(name.endswith(".pth") for name in names), names


def check_a_world_is_the_same_from_a_folder_and_from_its_three_files() -> None:
    names = submodule("nodes.host.world_model").list_worlds()
    parts = {
        stage: next(name for name in names if name.startswith(f"{CURRENT}/{stage}"))
        for stage in ("video_tokenizer", "latent_actions", "dynamics")
    }
    apart, *_ = run(
        "WanLiteWorldLoader", world_name=parts["video_tokenizer"], actions_name=parts["latent_actions"],
        dynamics_name=parts["dynamics"],
    )  # fmt: skip
    together = opened()
    for key, value in together.sizes.state_dict().items():
        assert torch.equal(value, apart.sizes.state_dict()[key]), key


def check_a_file_in_the_wrong_slot_is_named() -> None:
    names = submodule("nodes.host.world_model").list_worlds()
    dynamics = next(name for name in names if name.endswith(".pth") and "current" in name and "dynamics" in name)
    message = raises(ValueError, run, "WanLiteWorldLoader", world_name=dynamics, dynamics_name=dynamics)
    assert "dynamics model" in message and "video tokenizer" in message, message


def check_the_cache_key_follows_the_files() -> None:
    loader = node("WanLiteWorldLoader")
    names = {"actions_name": "(in the world)", "dynamics_name": "(in the world)", "precision": "auto"}
    first = loader.fingerprint_inputs(world_name=CURRENT, **names)
    assert first == loader.fingerprint_inputs(world_name=CURRENT, **names)
    assert first != loader.fingerprint_inputs(world_name=JULY, **names)


def check_the_host_loads_and_frees_the_weights() -> None:
    world = opened()
    rolled(world, clip(world), steps=1)
    assert any(loaded.model is world.patcher for loaded in comfy.model_management.current_loaded_models)
    comfy.model_management.unload_all_models()
    assert not any(loaded.model is world.patcher for loaded in comfy.model_management.current_loaded_models)
    frames, _, _ = rolled(world, clip(world), steps=1)
    assert torch.isfinite(frames).all(), "a world that was freed is loaded again"


# Rollout -------------------------------------------------------------------------------------------------------------


def check_the_node_is_the_librarys_rollout() -> None:
    library = submodule("models.world")
    for feedback in ("pixels", "tokens"):
        for temperature in (0.0, 0.7):
            world = opened()
            context = clip(world)
            settings = {"temperature": temperature, "feedback": feedback, "context_window": 2, "maskgit_steps": 4}
            (actions,) = run("WanLiteWorldActions", source="list", text="0, 1x2, 0")
            frames, done, report = rolled(world, context, actions=actions, steps=4, seed=7, **settings)
            expected = library.rollout(
                world.sizes, in_world_range(context), steps=4, actions=[0, 1, 1, 0], seed=7, **settings
            )
            wanted = (expected.frames[0].permute(0, 2, 3, 1) + 1) / 2
            assert float((frames - wanted.clamp(0, 1)).abs().max()) <= 1e-6, (feedback, temperature)
            assert done.actions == [[0, 1, 1, 0]] == expected.actions.tolist()
            assert "4 frames" in report and "0, 1, 1, 0" in report, report


def check_every_setting_reaches_the_library() -> None:
    library, world = submodule("models.world"), opened()
    context = clip(world, 6)
    base_settings = {"steps": 2, "seed": 5, "temperature": 0.9, "maskgit_steps": 3}
    changes = [
        {"top_k": 3}, {"top_p": 0.5}, {"action_guidance": 2.0}, {"schedule_k": 1.0}, {"draw": "all"},
        {"context_window": 4}, {"context_actions": "inferred", "context_window": 3}, {"teacher_forced": True},
        {"clamp": False}, {"horizon": 2}, {"action_diversity": 0.9}, {"feedback": "tokens"},
    ]  # fmt: skip
    for change in changes:
        settings = base_settings | change
        frames, done, _ = rolled(world, context, **settings)
        expected = library.rollout(world.sizes, in_world_range(context), actions="diversity", **settings)
        wanted = ((expected.frames[0].permute(0, 2, 3, 1) + 1) / 2).clamp(0, 1)
        assert torch.allclose(frames, wanted, atol=1e-6), change
        assert done.actions == expected.actions.tolist(), change


def check_precision_is_kept() -> None:
    world = run("WanLiteWorldLoader", world_name=CURRENT, precision="bf16")[0]
    assert world.sizes.dtype == torch.bfloat16
    assert torch.isfinite(rolled(world, clip(world), steps=2)[0]).all()


def check_rollouts_of_a_batch_are_single_rollouts() -> None:
    world = opened()
    context = clip(world)
    many, done, _ = rolled(world, context, steps=3, seed=20, rollouts=3, temperature=1.0)
    many = many.reshape(3, -1, *many.shape[1:])
    for item in range(3):
        alone, one, _ = rolled(world, context, steps=3, seed=20 + item, temperature=1.0)
        assert torch.allclose(many[item], alone, atol=1e-5), item
        assert done.actions[item] == one.actions[0]


def check_a_rollout_goes_on_where_it_stopped() -> None:
    world = opened()
    context = clip(world)
    whole, _, _ = rolled(world, context, steps=6, seed=3, temperature=0.8)
    first, stopped, _ = rolled(world, context, steps=2, seed=3, temperature=0.8)
    (second, _, _) = run(
        "WanLiteWorldRollout", world=world, continue_from=stopped, steps=4, seed=3, temperature=0.8, with_context=False
    )
    assert torch.allclose(torch.cat([first, second]), whole, atol=1e-6)


def check_rules_and_inferred_actions() -> None:
    world = opened()
    context = clip(world)
    for rule in ("diversity", "random", "repeat"):
        (actions,) = run("WanLiteWorldActions", source=rule)
        _, done, _ = rolled(world, context, actions=actions, steps=5, seed=1)
        ids = done.actions[0]
        assert len(ids) == 5 and all(0 <= action < world.sizes.n_actions for action in ids), (rule, ids)
        if rule == "repeat":
            assert len(set(ids)) == 1
    (none,) = run("WanLiteWorldActions", source="none")
    assert rolled(world, context, actions=none, steps=2)[1].actions is None
    (read,) = run("WanLiteWorldActions", source="infer from frames", world=world, frames=context)
    expected = submodule("models.world").infer_actions(world.sizes, in_world_range(context))
    assert read.actions == expected.tolist()


def check_july_worlds_roll_out() -> None:
    world = opened(JULY)
    context = clip(world, 1)
    frames, done, _ = rolled(world, context, steps=3, context_window=0)
    assert len(frames) == 4 and len(done.actions[0]) == 3
    noisy, _, _ = rolled(world, context, steps=3, context_window=0, latent_noise=0.5)
    assert torch.equal(noisy[0], frames[0]) and not torch.allclose(noisy[1:], frames[1:])
    assert "latent_noise" in raises(ValueError, rolled, world, context, steps=1, context_window=0, temperature=0.5)
    below, _, _ = rolled(world, context, steps=3, context_window=0, latent_noise=-0.02)  # its program's temperature 0.8
    above, _, _ = rolled(world, context, steps=3, context_window=0, latent_noise=0.02)
    assert not torch.equal(below, above)


def check_the_nodes_let_the_july_programs_temperature_in() -> None:
    inputs = submodule("nodes.world.inputs").decoding_inputs()
    (noise,) = [declared for declared in inputs if declared.id == "latent_noise"]
    assert noise.min <= (0.8 - 1) * 0.1


def check_nothing_that_came_in_is_written_to() -> None:
    world = opened()
    context = clip(world)
    (actions,) = run("WanLiteWorldActions", source="list", text="1, 0")
    before, ids = context.clone(), [list(row) for row in actions.actions]
    _, stopped, _ = rolled(world, context, actions=actions, steps=3, overlay=True, scale=2)
    assert torch.equal(context, before) and actions.actions == ids
    state = stopped.state.window.frames.clone()
    run("WanLiteWorldRollout", world=world, continue_from=stopped, steps=2)
    assert torch.equal(stopped.state.window.frames, state)


# Display -------------------------------------------------------------------------------------------------------------


def check_layouts() -> None:
    world = opened()
    size, context = world.sizes.frame_size, clip(world, 2)
    shape = {
        "frames": (2 * 5, size, size, 3),
        "side by side": (5, size, 2 * size + 2, 3),
        "contact sheet": (1, 2 * size + 2, 5 * size + 4 * 2, 3),
    }
    for layout, expected in shape.items():
        frames, _, _ = rolled(world, context, steps=3, rollouts=2, layout=layout)
        assert tuple(frames.shape) == expected, (layout, frames.shape)
    plain, _, _ = rolled(world, context, steps=3)
    large, _, _ = rolled(world, context, steps=3, scale=3)
    assert torch.equal(large[:, ::3, 1::3], plain)
    labelled, _, _ = rolled(world, context, steps=3, overlay=True)
    assert torch.equal(labelled[:, 14:], plain) and float(labelled[:, :14].std()) > 0.01
    assert len(rolled(world, context, steps=3, with_context=False)[0]) == 3


def check_frames_go_into_cores_video_nodes() -> None:
    world = opened()
    frames, _, _ = rolled(world, clip(world), steps=2)
    (video,) = run("CreateVideo", images=frames, fps=4.0)
    assert video.get_dimensions() == (world.sizes.frame_size, world.sizes.frame_size)


def check_progress_previews_and_interrupt_between_passes() -> None:
    world = opened()
    context, seen = clip(world), []
    hook = comfy.utils.PROGRESS_BAR_HOOK

    def listen(value: int, total: int, preview: Any, node_id: Any = None) -> None:
        seen.append((value, total, None if preview is None else preview[1].size))

    comfy.utils.set_progress_bar_global_hook(listen)
    try:
        rolled(world, context, steps=3, maskgit_steps=4)
        assert seen[0][:2] == (0, 12) and seen[-1][:2] == (12, 12)
        assert [size for *_, size in seen if size is not None], "no preview of a frame"
        calls = []

        def stop(*_: Any) -> None:
            calls.append(1)
            if len(calls) == 2:
                comfy.model_management.interrupt_current_processing(True)

        world.sizes.dynamics.register_forward_hook(stop)
        original = world.sizes.dynamics.decode_step
        world.sizes.dynamics.decode_step = lambda *a, **k: (stop(), original(*a, **k))[1]
        raises(comfy.model_management.InterruptProcessingException, rolled, world, context, steps=50, maskgit_steps=10)
        assert len(calls) == 2, "it must stop before the next pass"
    finally:
        comfy.utils.set_progress_bar_global_hook(hook)
        comfy.model_management.interrupt_current_processing(False)


# Bad input -----------------------------------------------------------------------------------------------------------


def check_bad_input_gets_one_sentence() -> None:
    world = opened()
    context = clip(world)
    size = world.sizes.frame_size
    cases = {
        "neither is connected": {"world": world},
        "fit": {"world": world, "context": torch.zeros(4, size + 8, size, 3)},
        "context_window is 3": {"world": world, "context": context[:1], "context_window": 3},
        "ids run from 0": {"world": world, "context": context, "actions": written("0, 99")},
        "written down": {"world": world, "continue_from": written("0")},
    }
    for words, inputs in cases.items():
        message = raises(ValueError, run, "WanLiteWorldRollout", steps=2, **inputs)
        assert words in message, (words, message)
    fitted, _, _ = rolled(world, torch.rand(4, size + 8, size, 4), steps=1, resize="fit")
    assert fitted.shape[1:] == (size, size, 3)
    assert "no list of actions" in raises(ValueError, run, "WanLiteWorldActions", source="list", text=" \n")
    assert "'x' is not an action" in raises(ValueError, run, "WanLiteWorldActions", source="list", text="0, x")
    assert "world" in raises(ValueError, run, "WanLiteWorldActions", source="infer from frames", frames=context)


def written(text: str):
    return run("WanLiteWorldActions", source="list", text=text)[0]


# A world's own clip, and the diagnosis -------------------------------------------------------------------------------


def with_clip(frames: int = 8):
    """A single-file world in the models folder with a clip beside it; returns the loader's outputs."""
    folder = base() / "models/world_models"
    submodule("models.world").convert_world(folder / "tiny.safetensors", folder / CURRENT)
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (2, frames, 32, 32, 3), generator=generator, dtype=torch.uint8)
    actions = torch.randint(0, 4, (2, frames - 1), generator=generator)
    save_file({"frames": pixels, "actions": actions}, folder / "tiny_clip.safetensors")
    return (*run("WanLiteWorldLoader", world_name="tiny.safetensors"), pixels, actions)


def check_a_clip_beside_the_world_comes_with_it() -> None:
    world, clip_of_world, clip_actions, pixels, actions = with_clip()
    assert torch.equal(clip_of_world, pixels[0].float() / 255.0)
    assert clip_actions.actions == actions[:1].tolist()
    assert "tiny_clip.safetensors" not in submodule("nodes.host.world_model").list_worlds()
    frames, _, _ = rolled(world, clip_of_world[:2], actions=clip_actions, steps=3)
    assert len(frames) == 5
    assert run("WanLiteWorldLoader", world_name=CURRENT)[1:] == (None, None)


def check_diagnosis_is_the_librarys() -> None:
    world, clip_of_world, *_ = with_clip()
    size = world.sizes.frame_size
    chart, comparison, report = run("WanLiteWorldDiagnose", world=world, frames=clip_of_world)
    config = submodule("models.world").RolloutConfig(context_window=2)
    diagnose = submodule("models.world.diagnosis.diagnose").diagnose
    expected = diagnose(world.sizes, in_world_range(clip_of_world), config=config)
    assert report == expected.report()
    assert chart.shape[0] == 1 and chart.shape[-1] == 3
    assert tuple(comparison.shape) == (1, 5 * (2 * size + 14) + 8, 6 * 2 * size + 10, 3)
    plain = {"layout": "frames", "scale": 1, "overlay": False}
    _, frames, _ = run("WanLiteWorldDiagnose", world=world, frames=clip_of_world, **plain)
    assert tuple(frames.shape) == (6, size, 5 * size + 8, 3)
    assert torch.allclose(frames[:, :, :size], clip_of_world[2:], atol=1e-6), "the truth is on the left"


def check_diagnosis_refuses_a_clip_that_is_too_short() -> None:
    world, clip_of_world, *_ = with_clip()
    message = raises(ValueError, run, "WanLiteWorldDiagnose", world=world, frames=clip_of_world[:2])
    assert "longer than the window" in message, message
