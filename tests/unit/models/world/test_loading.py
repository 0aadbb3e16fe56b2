"""Opening worlds: every layout, wrong files in one sentence, and nothing that a file carries is ever run."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_lite.models.metadata import read_metadata
from wan_lite.models.world import World, convert_world, find_checkpoints, find_runs, load_world, save_world
from wan_lite.pipeline.inspection import inspect

HERE = Path(__file__).parents[3] / "vectors" / "tinyworlds"
CURRENT = HERE / "current" / "checkpoints_current"
STAGES = {stage: path for stage, path in find_checkpoints(CURRENT).items()}
PUBLISHED = next((HERE / "current" / "checkpoints_singlefile_pth").rglob("*.pth"))


def given(**changes: Path) -> dict[str, Path]:
    """Arguments of load_world for the current format, with some of them exchanged."""
    return {
        "tokenizer": STAGES["tokenizer"],
        "actions": STAGES["latent_actions"],
        "dynamics": STAGES["dynamics"],
    } | changes


def same(a: World, b: World) -> bool:
    theirs = b.state_dict()
    return a.state_dict().keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in a.state_dict().items())


def refusal(**paths: Path) -> str:
    with pytest.raises(ValueError) as caught:
        load_world(**paths)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_a_folder_is_searched_by_name() -> None:
    world = load_world(CURRENT)
    assert (world.generation, world.frame_size, world.n_actions) == ("current", 32, 4)
    assert same(world, load_world(**given()))
    assert "32x32" in world.describe()


def test_the_published_form_holds_the_same_network() -> None:
    assert same(load_world(**given(dynamics=PUBLISHED)), load_world(**given()))


def test_opening_a_world_does_not_load_torchs_compiler() -> None:
    """It takes one to two seconds, and making random numbers on the meta device is enough to ask for it."""
    code = "import sys; from wan_lite.models.world import load_world; load_world(sys.argv[1]); "
    code += "sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(CURRENT)], cwd="/").returncode == 0


def test_most_steps_win(tmp_path: Path) -> None:
    for stage, path in STAGES.items():
        shutil.copytree(path, tmp_path / stage / f"{path.name.rsplit('_', 1)[0]}_9")
        shutil.copytree(path, tmp_path / stage / f"{path.name.rsplit('_', 1)[0]}_10")
    assert {path.name.rsplit("_", 1)[1] for path in find_checkpoints(tmp_path).values()} == {"10"}


def make_runs(folder: Path, runs: dict[str, tuple[str, ...]]) -> Path:
    """Lay out runs as training does: names, and the networks that each trained (its steps: the run's number)."""
    for number, (run, stages) in enumerate(runs.items()):
        for stage in stages:
            source = STAGES[stage]
            name = f"{source.name.rsplit('_', 1)[0]}_{9 * (len(runs) - number)}"
            shutil.copytree(source, folder / run / source.parents[1].name / "checkpoints" / name)
    return folder


ALL = ("tokenizer", "latent_actions", "dynamics")
OLD, NEW = "2025_11_30_23_59_59", "2025_12_01_00_00_00"


def test_the_newest_run_is_taken_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The older run has trained for more steps."""
    folder = make_runs(tmp_path / "results", {OLD: ALL, NEW: ALL})
    (folder / OLD).touch()  # changed last, as after a copy
    assert {path.parents[2].name for path in find_checkpoints(folder).values()} == {NEW}
    with caplog.at_level("INFO"):
        load_world(folder)
    assert NEW in caplog.text and OLD not in caplog.text
    assert [run.folder.name for run in find_runs(folder)] == [OLD, NEW]
    assert dict(inspect(folder).facts)["run"].startswith(NEW)


@pytest.mark.parametrize(
    ("stages", "missing"),
    [(("dynamics",), "video tokenizer"), (("tokenizer", "dynamics"), "latent action model")],
)
def test_networks_of_different_runs_are_put_together_by_name_only(
    tmp_path: Path, stages: tuple[str, ...], missing: str
) -> None:
    folder = make_runs(tmp_path / "results", {OLD: ALL, NEW: stages})
    said = refusal(world=folder)
    assert f"its newest run, {NEW}, has no {missing}, but {OLD} has" in said
    with pytest.raises(ValueError, match=NEW):
        inspect(folder)
    load_world(folder / OLD)
    older, newer = find_runs(folder)
    load_world(tokenizer=older.checkpoints["tokenizer"], dynamics=newer.checkpoints["dynamics"])


def test_runs_without_a_time_in_their_names_go_by_their_files(tmp_path: Path) -> None:
    folder = make_runs(tmp_path, {"b": ALL, "a": ALL})
    for age, run in enumerate(("a", "b")):
        for file in (folder / run).rglob("*"):
            os.utime(file, (2e9 - age * 1e6, 2e9 - age * 1e6))
    assert [run.folder.name for run in find_runs(folder)] == ["b", "a"]


def test_runs_of_the_legacy_program_and_of_downloads(tmp_path: Path) -> None:
    for name in ("vqvae/results/videotokenizer_x", "latent_action_model/results/lam_x", "dynamics/results/dynamics_x"):
        (tmp_path / "src" / name / "checkpoints").mkdir(parents=True)
        (tmp_path / "src" / name / "checkpoints" / f"{name.split('/')[-1]}.pth").touch()
    assert [(run.folder.name, len(run.checkpoints)) for run in find_runs(tmp_path)] == [("src", 3)]
    for name in ("video_tokenizer", "actions", "dynamics"):
        place = tmp_path / "results" / "2025_09_18_00_00_00_sonic" / name / "checkpoints" / "sonic"
        place.mkdir(parents=True)
        (place / f"sonic_{name}_step_5.pth").touch()
    (run,) = find_runs(tmp_path / "results")
    assert run.time == "2025_09_18_00_00_00" and set(run.checkpoints) == set(ALL)


def test_the_weights_file_itself_may_be_named() -> None:
    assert same(load_world(**given(dynamics=STAGES["dynamics"] / "model_state_dict.pt")), load_world(**given()))


def test_one_file_holds_everything(tmp_path: Path) -> None:
    file = tmp_path / "pong.safetensors"
    world = convert_world(file, CURRENT)
    again = load_world(file)
    assert same(world, again) and again.source == "pong" and again.describe() == world.describe()
    header = read_metadata(file)
    assert header["modelspec.title"] == "pong" and header["modelspec.architecture"] == "tinyworlds-current"
    assert same(load_world(tmp_path), world)


def test_more_metadata_is_kept(tmp_path: Path) -> None:
    save_world(load_world(CURRENT), tmp_path / "w.safetensors", metadata={"modelspec.license": "MIT"})
    assert read_metadata(tmp_path / "w.safetensors")["modelspec.license"] == "MIT"


def test_prefixes_of_compiled_and_parallel_runs_are_removed(tmp_path: Path) -> None:
    content = torch.load(PUBLISHED, weights_only=True)
    content["model"] = {f"module._orig_mod.{key}": value for key, value in content["model"].items()}
    torch.save(content, tmp_path / "dynamics_step_1.pth")
    assert same(load_world(**given(dynamics=tmp_path / "dynamics_step_1.pth")), load_world(**given()))


def test_precision() -> None:
    world = load_world(CURRENT, dtype=torch.bfloat16)
    assert world.dtype == torch.bfloat16 and world.tokenizer.quantizer.basis.dtype == torch.int64


def test_without_action_model() -> None:
    world = load_world(tokenizer=STAGES["tokenizer"], dynamics=STAGES["dynamics"])
    assert world.latent_actions is None and world.n_actions == 4


class Trap:
    """Would create a file while being unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("place", ["model", "config", "whole"])
def test_a_malicious_pickle_runs_nothing(tmp_path: Path, place: str) -> None:
    mark, file = tmp_path / "it_ran", tmp_path / "dynamics_step_5.pth"
    content: Any = {"model": {"a": torch.zeros(1)}, "config": {"frame_size": 32}}
    if place == "whole":
        file.write_bytes(pickle.dumps(Trap(mark)))
    else:
        torch.save(content | {place: {"x": Trap(mark)}}, file)
    assert "refused" in refusal(**given(dynamics=file)) or place == "whole"
    assert not mark.exists()
    pickle.loads(pickle.dumps(Trap(mark)))  # the trap does spring elsewhere
    assert mark.exists()


def test_a_malicious_state_file_runs_nothing(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(STAGES["dynamics"], tmp_path / "dynamics_step_0"))
    torch.save({"config": Trap(tmp_path / "it_ran"), "step": 0}, folder / "state.pt")
    assert "refused" in refusal(**given(dynamics=folder))
    assert not (tmp_path / "it_ran").exists()


def test_wrong_slot() -> None:
    said = refusal(**given(dynamics=STAGES["tokenizer"]))
    assert "is a video tokenizer, but was given as a dynamics model" in said


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    save_file({"double_blocks.0.x": torch.zeros(1)}, tmp_path / "flux.safetensors")
    assert "a Flux model" in refusal(**given(dynamics=tmp_path / "flux.safetensors"))


def test_weights_without_configuration(tmp_path: Path) -> None:
    weights = torch.load(STAGES["dynamics"] / "model_state_dict.pt", weights_only=True)
    save_file(weights, tmp_path / "dynamics.safetensors")
    assert "carries no configuration" in refusal(**given(dynamics=tmp_path / "dynamics.safetensors"))


def test_state_file_missing(tmp_path: Path) -> None:
    shutil.copytree(STAGES["dynamics"], tmp_path / "d", ignore=shutil.ignore_patterns("state.pt"))
    assert "has no state.pt" in refusal(**given(dynamics=tmp_path / "d"))


@pytest.mark.parametrize("name, value", [("embed_dim", 32), ("num_blocks", 3), ("latent_dim", 5), ("num_heads", 5)])
def test_configuration_and_weights_disagree(tmp_path: Path, name: str, value: int) -> None:
    content = torch.load(PUBLISHED, weights_only=True)
    content["config"][name] = value
    torch.save(content, tmp_path / "dynamics_step_1.pth")
    assert str(value) in refusal(**given(dynamics=tmp_path / "dynamics_step_1.pth"))


def test_sizes_that_do_not_belong_together(tmp_path: Path) -> None:
    content = torch.load(PUBLISHED, weights_only=True)
    content["config"]["frame_size"] = 64
    torch.save(content, tmp_path / "dynamics_step_1.pth")
    said = refusal(**given(dynamics=tmp_path / "dynamics_step_1.pth"))
    assert "frame_size 32" in said and "64" in said


def test_missing_tensor(tmp_path: Path) -> None:
    content = torch.load(PUBLISHED, weights_only=True)
    del content["model"]["transformer.blocks.1.ffn.w_o.bias"]
    torch.save(content, tmp_path / "dynamics_step_1.pth")
    assert "missing" in refusal(**given(dynamics=tmp_path / "dynamics_step_1.pth"))


def test_no_world_in_a_folder(tmp_path: Path) -> None:
    assert "no checkpoint of a video tokenizer or of a dynamics model" in refusal(world=tmp_path)
    assert "one checkpoint" in refusal(world=STAGES["dynamics"])


def test_a_file_that_is_not_a_world(tmp_path: Path) -> None:
    assert "whole world" in refusal(world=PUBLISHED)
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert "whole world" in refusal(world=tmp_path / "a.safetensors")
    assert "no such file" in refusal(**given(dynamics=tmp_path / "absent.pth"))


def test_nothing_given() -> None:
    assert "give one file or folder" in refusal()


def test_a_tampered_world_file(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    convert_world(file, CURRENT)
    header, tensors = read_metadata(file), load_file(file)
    for broken in ('{"generation": "current"}', "no json", '{"generation": "august", "tokenizer": {}}'):
        save_file(tensors, file, metadata=header | {"wan_lite.world_config": broken})
        assert "does not describe a world" in refusal(world=file)
    config = header["wan_lite.world_config"].replace('"frame_size": 32', '"frame_size": 64', 1)
    save_file(tensors, file, metadata=header | {"wan_lite.world_config": config})
    assert "frame_size 64" in refusal(world=file)
