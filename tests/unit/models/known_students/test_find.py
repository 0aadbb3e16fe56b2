"""One order of precedence: connected, header, sidecar, name; what differs is never chosen from in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wan_lite.models import find_contract, load_known_students, stamp
from wan_lite.models.known_students.find import sample_alike
from wan_lite.samplers import ContractError, SamplingContract
from wan_lite.samplers.contract import CONTRACT_KEY

STUDENTS = load_known_students(Path(__file__).parents[4] / "models" / "known_students" / "known_students.json")
LIGHTNING = "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors"


def contract(**fields: object) -> SamplingContract:
    return SamplingContract("flow_unipc", "velocity", **{"steps": 7, **fields})  # type: ignore[arg-type]


def weights(path: Path) -> Path:
    save_file({"x": torch.zeros(2)}, path)
    return path


def test_each_source_gives_way_to_the_one_before(tmp_path: Path) -> None:
    file = weights(tmp_path / LIGHTNING)
    named = find_contract([file], students=STUDENTS)
    assert named.contract is not None and (named.contract.source, named.contract.role) == ("recognised", "high")
    assert named.student is not None and named.student.id == "wan2.2-lightning-i2v" and LIGHTNING in named.origin
    sidecar = file.with_name(f"{file.stem}.sampling_contract.json")
    sidecar.write_text(contract(steps=5).to_json(), "utf-8")
    assert find_contract([file], students=STUDENTS).require() == contract(steps=5, source="sidecar")
    stamp(file, contract(steps=6))
    found = find_contract([file], students=STUDENTS)
    assert found.require() == contract(steps=6, source="declared") and "header" in found.origin
    connected = contract(steps=8)
    assert find_contract([file], connected=connected, students=STUDENTS).require() is connected


def test_nothing_is_nothing() -> None:
    found = find_contract(["wan2.1_t2v_14B_fp16.safetensors"], students=STUDENTS)
    assert found.contract is None and not found.candidates
    with pytest.raises(ContractError, match="connect or name one"):
        found.require()


def test_a_header_that_was_read_already() -> None:
    headers = [("lora.safetensors", {"format": "pt", CONTRACT_KEY: contract().to_json()})]
    found = find_contract([LIGHTNING], headers=headers, students=STUDENTS)
    assert found.require() == contract(source="declared") and "lora.safetensors" in found.origin


def test_two_that_differ_are_candidates_and_an_error() -> None:
    names = [LIGHTNING, "Wan21_CausVid_bidirect2_T2V_1_3B_lora_rank32.safetensors"]
    found = find_contract(names, students=STUDENTS)
    assert found.contract is None
    assert [one.student and one.student.id for one in found.candidates] == [
        "wan2.2-lightning-i2v",
        "causvid-bidirectional",
    ]
    with pytest.raises(ContractError, match=r"several.*Lightning.*CausVid"):
        found.require()


def test_an_ambiguous_name_gives_its_alternatives() -> None:
    found = find_contract(["causal_forcing.pt"], students=STUDENTS)
    assert found.contract is None and len(found.candidates) == 2


def test_names_that_fit_several_which_sample_alike_are_no_ambiguity() -> None:
    found = find_contract(["LOW_4steps-lora-rank64-Seko-V1.safetensors"], students=STUDENTS)
    assert found.require().role == "low"
    assert "T2V" in found.origin and "I2V" in found.origin


def test_a_student_that_no_contract_can_say() -> None:
    found = find_contract(["LongCat_distill_lora_alpha64_bf16.safetensors"], students=STUDENTS)
    assert found.contract is None
    with pytest.raises(ContractError, match="network of its own"):
        found.require()


def test_contracts_that_sample_alike() -> None:
    lightning, lightx2v, flf2v = (
        STUDENTS.students[name].contract()
        for name in ("wan2.2-lightning-t2v", "lightx2v-wan2.2-t2v", "lightx2v-wan2.2-flf2v")
    )
    assert lightning is not None and lightx2v is not None and flf2v is not None
    assert sample_alike(lightning, lightx2v)
    assert not sample_alike(lightning, flf2v)
    four = {"denoising_steps": (1000, 750, 500, 250), "shift": 5.0, "timestep_cast": "float"}
    assert not sample_alike(lightning, SamplingContract("renoise", "velocity", **four))  # type: ignore[arg-type]
