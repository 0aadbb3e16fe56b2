"""Known students: the data file, and what the names of files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wan_lite.models.known_students import (
    USER_FILE_VARIABLE,
    KnownStudents,
    KnownStudentsError,
    expert_role,
    find_swapped_experts,
    load_known_students,
    user_file,
)
from wan_lite.models.known_students.names import LEVELS_UP, name_parts, normal_name
from wan_lite.pipeline.known import find_model_names, recognise_all

NAMES = json.loads((Path(__file__).parents[3] / "vectors/known/names.json").read_text("utf-8"))
KNOWN: dict[str, list[Any]] = {name: row for rows in NAMES["known"].values() for name, row in rows.items()}
OTHERS: list[str] = [name for names in NAMES["others"].values() for name in names]
NO_FAMILIES = ("Wuli-Qwen-Image-2512-Turbo-LoRA-2steps-V1.0-bf16", "anima-turbo-lora-v0.2", "krea2_turbo_fp8_scaled")


@pytest.fixture(autouse=True)
def no_file_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep a developer's own data file out of the tests."""
    monkeypatch.delenv(USER_FILE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(name="known")
def _known() -> KnownStudents:
    return load_known_students()


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWN)
def test_a_telling_name_is_recognised(known: KnownStudents, name: str) -> None:
    found = known.recognise(name)
    assert [[student.id for student in found.students], found.role] == KNOWN[name]


def test_no_other_name_is_recognised(known: KnownStudents) -> None:
    found, others = recognise_all(OTHERS, known)
    assert not [row.name for row in found]
    assert [row.name for row in others] == OTHERS


@pytest.mark.parametrize("name", NO_FAMILIES)
def test_a_few_step_file_of_unknown_training_is_said_to_be_one(known: KnownStudents, name: str) -> None:
    assert not known.recognise(name)
    assert "nothing is published" in (known.explain_unknown(name) or "")


def test_a_name_that_says_nothing_counts_only_with_its_folder(known: KnownStudents) -> None:
    folder = "loras/Wan2.2-Lightning/Wan2.2-I2V-A14B-4steps-lora-rank64-Seko-V1"
    assert not known.recognise("high_noise_model.safetensors")
    assert [student.id for student in known.recognise(f"{folder}/high_noise_model.safetensors").students] == [
        "wan2.2-lightning-i2v"
    ]
    assert not known.recognise(f"{folder}/my_style.safetensors")
    assert not known.recognise("Wan2.2-TI2V-5B-Turbo/a/b/c/model.pt")
    assert known.recognise(r"D:\models\loras\Wan2.2-TI2V-5B-Turbo\model.pt")


def test_every_rule_is_met_by_a_recorded_name(known: KnownStudents) -> None:
    unmet = []
    for student in known.students.values():
        for rule in student.names:
            weights = []
            for path in KNOWN:
                *folders, name = map(normal_name, name_parts(path))
                above = folders[: -LEVELS_UP - 1 : -1]
                weights += [rule.weigh_name(name, above), *(rule.weigh_folder(name, folder) for folder in above)]
            unmet += [] if any(weights) else [(student.id, rule)]
    assert not unmet


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors", "high"),
        ("Wan2.2-Lightning_T2V-A14B-4steps-lora_LOW_fp16.safetensors", "low"),
        ("Wan2.2-T2V-A14B/distill_models/low_noise_model/distill_model.safetensors", "low"),
        ("high/wan2.2_i2v_low_noise.safetensors", "low"),
        ("high_low_merged.safetensors", None),
        ("highway_lora.safetensors", None),
    ],
)
def test_the_expert_of_a_name(path: str, role: str | None) -> None:
    assert expert_role(path) == role


def test_swapped_experts_are_said_to_be() -> None:
    low, high = "t2v_low_noise.safetensors", "t2v_high_noise.safetensors"
    assert find_swapped_experts(high, low) is None
    assert find_swapped_experts("a.safetensors", "b.safetensors") is None
    for pair in ((low, high), (low, "b.safetensors"), ("a.safetensors", high)):
        message = find_swapped_experts(*pair)
        assert message is not None and all(name in message for name in pair) and "exchange" in message


def test_names_in_workflows_and_folders(tmp_path: Path) -> None:
    workflow = {
        "nodes": [
            {"widgets_values": ["sub\\a.safetensors", 1.0, "the file b.safetensors is better"]},
            {
                "properties": {
                    "models": [{"name": "c.pth", "url": "https://example.org/main/d.safetensors?download=true"}]
                }
            },
        ]
    }
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "w.json").write_text(json.dumps(workflow), "utf-8")
    (tmp_path / "e.gguf").touch()
    names = ["c.pth", "d.safetensors", "sub/a.safetensors"]
    assert find_model_names(tmp_path / "workflows" / "w.json") == names
    assert find_model_names(tmp_path) == sorted([*names, "e.gguf"])
    (tmp_path / "broken.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match=r"broken\.json.*not JSON"):
        find_model_names(tmp_path / "broken.json")
    with pytest.raises(ValueError, match="nothing"):
        find_model_names(tmp_path / "missing")


# The data file -------------------------------------------------------------------------------------------------------


def test_every_entry_says_what_it_must(known: KnownStudents) -> None:
    for student in known.students.values():
        assert student.title and student.of and student.weights and student.sources, student.id
        assert all(source.repository.count("/") == 1 and len(source.commit) >= 7 for source in student.sources)
        assert bool(student.fields) or bool(student.cannot_run), f"{student.id} has no contract and no reason"
        assert not (student.cannot_run and student.core), f"{student.id} cannot run in core and has a recipe for it"


def test_a_user_adds_corrects_and_switches_off(tmp_path: Path) -> None:
    contract = {"solver": "flow_unipc", "prediction": "velocity"}
    mine = {"id": "mine", "title": "My own", "names": ["^my_student$"], "contract": contract}
    changes = [{"id": "rcm-t2v", "title": "Corrected"}, {"id": "chronoedit", "off": True}]
    own = {"format": 1, "students": [mine, *changes], "silent": ["^weights$"]}
    path = tmp_path / "own.json"
    path.write_text(json.dumps(own), "utf-8")
    known = load_known_students(path)
    assert [student.title for student in known.recognise("My-Student.safetensors").students] == ["My own"]
    assert known.students["rcm-t2v"].title == "Corrected"
    assert known.students["rcm-t2v"].names == load_known_students().students["rcm-t2v"].names
    assert not known.recognise("chronoedit_distill_lora.safetensors")
    assert known.recognise("my_student/weights.safetensors")


def test_where_a_users_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_file() is None
    configured = tmp_path / "config" / "wan-lite" / "known_students.json"
    configured.parent.mkdir(parents=True)
    configured.write_text(json.dumps({"format": 1, "students": [{"id": "chronoedit", "off": True}]}), "utf-8")
    assert user_file() == configured
    assert "chronoedit" not in load_known_students().students
    named = tmp_path / "named.json"
    monkeypatch.setenv(USER_FILE_VARIABLE, str(named))
    with pytest.raises(KnownStudentsError, match=f"{USER_FILE_VARIABLE}.*not a file"):
        user_file()
    named.write_text(json.dumps({"format": 1}), "utf-8")
    assert "chronoedit" in load_known_students().students


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "format"),
        ('{"format": 2}', "format"),
        ('{"format": 1, "students": {}}', "students is dict"),
        ('{"format": 1, "students": ["x"]}', 'with an "id"'),
        ('{"format": 1, "students": [{"id": "x", "nmaes": []}]}', "nmaes"),
        ('{"format": 1, "unknown": [{"name": "x"}]}', "under unknown"),
        ('{"format": 1, "students": [{"id": "x", "names": ["("]}]}', "not a pattern"),
        ('{"format": 1, "students": [{"id": "x", "sources": [{"repository": "a/b"}]}]}', "not of the form"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(content, "utf-8")
    with pytest.raises(KnownStudentsError, match=message) as error:
        load_known_students(path)
    assert "own.json" in str(error.value) and "\n" not in str(error.value)
