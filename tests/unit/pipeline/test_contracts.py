"""Candidates for a probe, as people name them."""

from __future__ import annotations

import pytest

from wan_lite.models.known_students import load_known_students
from wan_lite.pipeline.contracts import choose_alternative, override_contract, parse_candidates, parse_steps
from wan_lite.samplers.contract import PRESETS, SamplingContract

DDIM, FLOW = "ddim-20 run_inference", "flow_unipc-20 shift 5"


def test_presets_come_one_a_line() -> None:
    assert parse_candidates(f" {FLOW} \n\n{DDIM}\n") == {FLOW: PRESETS[FLOW], DDIM: PRESETS[DDIM]}


def test_a_contract_that_is_there_comes_first() -> None:
    own = SamplingContract("ddim", "epsilon", steps=7)
    assert list(parse_candidates(DDIM, own).values()) == [own, PRESETS[DDIM]]
    assert list(parse_candidates("", own).values()) == [own]


@pytest.mark.parametrize(("names", "found"), [("ddim-99", "ddim-99"), (" \n ", "nothing")])
def test_names_that_are_not_presets_are_refused_with_those_that_are(names: str, found: str) -> None:
    with pytest.raises(ValueError, match=found) as refusal:
        parse_candidates(names)
    assert all(name in str(refusal.value) for name in PRESETS)


def test_an_override_of_nothing_leaves_the_contract() -> None:
    contract = PRESETS[FLOW]
    assert override_contract(contract, steps=0, shift=0.0, cfg=0.0) == contract
    changed = override_contract(contract, steps=7, shift=0.0, source="declared")
    assert (changed.steps, changed.shift, changed.source) == (7, 5.0, "declared")


@pytest.mark.parametrize("text", ["1000, 750, 500, 250", "[1000 750 500 250]", " 1000;750\n500 ,250, "])
def test_denoising_steps_as_people_write_them(text: str) -> None:
    assert parse_steps(text) == [1000, 750, 500, 250]


@pytest.mark.parametrize("text", ["", "a", "1000, 7.5", "-1", "1e3", "99999"])
def test_what_is_not_a_list_of_steps(text: str) -> None:
    with pytest.raises(ValueError, match=r"^denoising_steps is "):
        parse_steps(text)


def test_alternatives_by_their_number() -> None:
    contract = load_known_students().students["lightx2v-wan2.1"].contract()
    assert contract is not None and choose_alternative(contract, 0) == contract
    assert choose_alternative(contract, 1).solver == "flow_euler"
    for number in (-1, 2):
        with pytest.raises(ValueError, match=f"alternative is {number}; this contract has 1"):
            choose_alternative(contract, number)
