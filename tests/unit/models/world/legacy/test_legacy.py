"""Worlds of the legacy format: recognised, saved as one file, rolled out, diagnosed, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from wan_lite.models.metadata import read_metadata
from wan_lite.models.world import World, convert_world, diagnose, find_checkpoints, load_world, rollout

HERE = Path(__file__).parents[4] / "vectors" / "tinyworlds"
LEGACY = HERE / "legacy"
STAGES = find_checkpoints(LEGACY)
CURRENT_STAGES = find_checkpoints(HERE / "current" / "checkpoints_current")


@pytest.fixture(scope="module")
def legacy() -> World:
    return load_world(LEGACY)


def refusal(run: Callable[..., Any], *args: Any, **settings: Any) -> str:
    with pytest.raises(ValueError) as caught:
        run(*args, **settings)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_it_is_recognised(legacy: World) -> None:
    assert (legacy.generation, legacy.frame_size, legacy.n_actions) == ("legacy", 64, 8)


def test_one_file_holds_everything_under_the_name_that_such_files_have(tmp_path: Path, legacy: World) -> None:
    file = tmp_path / "pong.safetensors"
    convert_world(file, LEGACY)
    again = load_world(file).state_dict()
    own = legacy.state_dict()
    assert own.keys() == again.keys() and all(torch.equal(value, again[key]) for key, value in own.items())
    header = read_metadata(file)
    assert header["modelspec.architecture"] == "tinyworlds-july"
    assert '"generation": "july"' in header["wan_lite.world_config"]


@pytest.mark.parametrize("stage", ["dynamics", "latent_actions"])
def test_generations_are_not_mixed(stage: str) -> None:
    paths = CURRENT_STAGES | {stage: STAGES[stage]}
    paths["actions"] = paths.pop("latent_actions")
    assert "the legacy format" in refusal(load_world, **paths)


def test_the_action_model_is_needed() -> None:
    assert "action vectors" in refusal(load_world, tokenizer=STAGES["tokenizer"], dynamics=STAGES["dynamics"])


@pytest.mark.parametrize("feedback", ["pixels", "tokens"])
def test_rollout(legacy: World, feedback: str) -> None:
    start = load_file(LEGACY / "rollout.io.safetensors")["start_frame"]
    result = rollout(legacy, start, steps=4, batch=2, latent_noise=0.02, context_window=2, feedback=feedback)
    assert result.frames.shape == (2, 5, 3, 64, 64) and result.tokens.shape == (2, 4, 4, 8)
    assert result.state.window.frames.shape[1] == 2
    assert not torch.equal(result.frames[0, 1], rollout(legacy, start, steps=1, context_window=2).frames[0, 1])
    more = rollout(legacy, result.state, steps=2, latent_noise=0.02, context_window=2, feedback=feedback)
    whole = rollout(legacy, start, steps=6, batch=2, latent_noise=0.02, context_window=2, feedback=feedback)
    torch.testing.assert_close(whole.frames[:, -2:], more.new_frames, rtol=0, atol=1e-6)


def test_settings_of_the_current_format_are_refused(legacy: World) -> None:
    start = torch.zeros(1, 1, 3, 64, 64)
    assert "latent_noise = (T - 1) * 0.1" in refusal(rollout, legacy, start, temperature=0.8)
    assert "leave both at 1" in refusal(rollout, legacy, start, horizon=2)


def test_diagnosis(legacy: World) -> None:
    video = load_file(LEGACY / "modules.io.safetensors")["frames"]
    assert diagnose(legacy, video, seed=3).actions is not None
