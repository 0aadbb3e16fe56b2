"""Findings: what a workflow does that its models were not trained for, in files made for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wan_lite.check import Report, check_graph, check_workflow
from wan_lite.check.fix import apply_changes
from workflow_graphs import (
    FASTWAN,
    HIGH,
    LOW,
    LOW_LORA,
    Graph,
    custom,
    lightx2v,
    node,
    set_values,
    to_page,
    two_experts,
)

ROOT = Path(__file__).resolve().parents[3]


def found(graph: Graph) -> dict[str, tuple[str, str]]:
    """Finding -> (severity, node), of both formats alike."""
    api, page = check_graph(graph), check_graph(to_page(graph))
    assert [(f.id, f.severity, f.node) for f in api.findings] == [(f.id, f.severity, f.node) for f in page.findings]
    return {finding.id: (finding.severity, finding.node) for finding in api.findings}


def message(report: Report, id: str) -> str:
    return next(finding.message for finding in report.findings if finding.id == id)


@pytest.mark.parametrize("graph", [lightx2v(), lightx2v(sampler_name="euler"), custom(), two_experts()])
def test_what_is_sampled_as_trained_has_no_findings(graph: Graph) -> None:
    report = check_graph(graph)
    assert report.findings == ()
    levels = [level for sampler in report.samplers for level in (sampler.sigmas or ())[:-1]]
    assert levels == pytest.approx([1, 0.9375, 5 / 6, 0.625])


def other_branch() -> Graph:
    """The first trap: the scheduler reads the model before its shift is set."""
    return set_values(custom(), n10_model=["2", 0])


def two_patches() -> Graph:
    graph = lightx2v()
    graph["12"] = node("ModelSamplingSD3", model=["3", 0], shift=5)
    return set_values(graph, n3_shift=3, n7_model=["12", 0])


def aura_flow() -> Graph:
    graph = lightx2v()
    graph["3"] = node("ModelSamplingAuraFlow", model=["2", 0], shift=5)
    return graph


def two_lcm_stages() -> Graph:
    """Both stages stochastic with one seed."""
    return two_experts({"sampler_name": "lcm"}, {"sampler_name": "lcm"})


def fastwan(sigmas: str = "1, 0.756757, 0.521739, 0") -> Graph:
    """A student that was fed integers."""
    graph = custom()
    graph["1"]["inputs"]["unet_name"] = FASTWAN
    graph["8"]["inputs"]["vae_name"] = "wan2.2_vae.safetensors"
    graph["6"] = node("Wan22ImageToVideoLatent", vae=["8", 0], width=1280, height=704, length=121, batch_size=1)
    graph["10"] = node("ManualSigmas", sigmas=sigmas)
    set_values(graph, n7_model=["1", 0])
    del graph["2"], graph["3"]
    return graph


def decoded_noise() -> Graph:
    graph = two_experts()
    set_values(graph, n9_samples=["7", 0])
    del graph["21"], graph["22"], graph["23"], graph["27"]
    return graph


CASES: dict[str, tuple[Callable[[], Graph], str, str, str, bool]] = {
    # name: file, finding, severity, node, whether its remedy is a value
    "shift on another branch": (other_branch, "shift-ineffective", "wrong", "3", False),
    "levels of another branch": (other_branch, "levels-differ", "wrong", "7", False),
    "two patches": (two_patches, "shift-twice", "doubtful", "3", False),
    "auraflow on wan": (aura_flow, "wrong-multiplier", "wrong", "3", False),
    "one seed, two stochastic stages": (two_lcm_stages, "same-noise", "doubtful", "27", True),
    "cfg a little above 1": (lambda: lightx2v(cfg=1.01), "cfg-differs", "wrong", "7", True),
    "integers fed as floats": (fastwan, "integer-timesteps", "note", "7", False),
    "denoise below 1": (lambda: lightx2v(denoise=0.5), "denoise-below-one", "wrong", "7", True),
    "normal": (lambda: lightx2v(scheduler="normal"), "schedule-spacing", "wrong", "7", True),
    "beta": (lambda: custom(scheduler="beta"), "schedule-spacing", "wrong", "7", True),
    "six steps": (lambda: lightx2v(steps=6), "levels-differ", "wrong", "7", True),
    "shift 8": (lambda: set_values(lightx2v(), n3_shift=8), "levels-differ", "wrong", "7", True),
    "shift 5.5": (lambda: set_values(lightx2v(), n3_shift=5.5), "levels-differ", "doubtful", "7", True),
    "uni_pc": (lambda: lightx2v(sampler_name="uni_pc"), "another-solver", "wrong", "7", True),
    "manual": (lambda: fastwan("1, 0.7, 0.5, 0"), "levels-differ", "wrong", "7", True),
    "strength": (lambda: set_values(lightx2v(), n2_strength_model=0.7), "strength-differs", "doubtful", "2", True),
    "lcm for lightning": (two_lcm_stages, "another-solver", "wrong", "27", True),
    "split for 8 steps": (
        lambda: two_experts({"steps": 8}, {"steps": 8}), "expert-boundary", "wrong", "27", True
    ),
    "leftover noise lost": (
        lambda: two_experts({"return_with_leftover_noise": "disable"}), "noise-lost", "wrong", "27", True
    ),
    "leftover noise double": (lambda: two_experts(low={"add_noise": "enable"}), "noise-doubled", "wrong", "27", True),
    "a gap between stages": (lambda: two_experts(low={"start_at_step": 3}), "level-gap", "wrong", "27", True),
    "noise decoded": (decoded_noise, "noise-decoded", "wrong", "7", True),
    "experts exchanged": (
        lambda: set_values(two_experts(), n1_unet_name=LOW, n21_unet_name=HIGH), "experts-swapped", "wrong", "7", False
    ),
    "a LoRA of the other expert": (
        lambda: set_values(two_experts(), n2_lora_name=LOW_LORA), "experts-swapped", "wrong", "2", False
    ),
    "the other Wan's VAE": (
        lambda: set_values(lightx2v(), n8_vae_name="wan2.2_vae.safetensors"), "vae-mismatch", "wrong", "9", False
    ),
    "Qwen's VAE": (
        lambda: set_values(lightx2v(), n8_vae_name="qwen_image_vae.safetensors"), "vae-mismatch", "doubtful", "9", False
    ),
    "80 frames": (lambda: set_values(lightx2v(), n6_length=80), "frames", "doubtful", "6", True),
    "a side of 484": (lambda: set_values(lightx2v(), n6_height=484), "sides", "doubtful", "6", True),
    "a side of 488": (lambda: set_values(lightx2v(), n6_height=488), "sides", "note", "6", True),
    "text encoder": (lambda: set_values(lightx2v(), n4_type="flux2"), "text-encoder", "wrong", "4", True),
    "dpm_adaptive": (lambda: lightx2v(sampler_name="dpm_adaptive"), "sigmas-ignored", "wrong", "7", False),
    "karras for a flow": (
        lambda: {
            **custom(),
            "10": node("KarrasScheduler", steps=4, sigma_max=14.6, sigma_min=0.03, rho=7),
        }, "another-process", "wrong", "7", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_file_made_for_it_is_found(name: str) -> None:
    make, id, severity, at, _ = CASES[name]
    report = check_graph(make())
    assert (id, severity, at) in {(f.id, f.severity, f.node) for f in report.findings}, report.findings
    assert found(make()).get(id) is not None


@pytest.mark.parametrize("name", CASES)
def test_a_value_mends_it_and_the_rest_is_left(name: str) -> None:
    make, id, _, at, is_value = CASES[name]
    for graph in (make(), to_page(make())):
        text = json.dumps(graph, indent=3)
        report = check_graph(graph)
        finding = next(f for f in report.findings if (f.id, f.node) == (id, at))
        assert finding.is_mendable == is_value, finding
        changes = [change for f in report.findings if f.is_mendable for change in f.changes]
        mended = apply_changes(text, changes)
        left = {(f.id, f.node) for f in check_graph(json.loads(mended)).findings if f.severity != "note"}
        assert ((id, at) in left) == (not is_value and finding.severity != "note")
        differing = [(a, b) for a, b in zip(text.splitlines(), mended.splitlines(), strict=True) if a != b]
        assert len(differing) == len({change.path for change in changes if change.path})


def test_numbers_and_sources_are_named() -> None:
    report = check_graph(set_values(lightx2v(), n3_shift=8))
    (finding,) = [f for f in report.findings if f.id == "levels-differ"]
    for part in ("0.96", "0.8889", "0.7273", "0.9375", "937.5", "0.1023"):
        assert part in finding.message
    assert "GoatWu/Self-Forcing-Plus@7087227" in finding.source
    assert "shift of node 3 to 5" in finding.remedy


def test_a_shift_that_does_nothing_is_harmless_where_the_model_has_it_already() -> None:
    graph = other_branch()
    graph["1"]["inputs"]["unet_name"] = "wan_animate_2_int8_convrot.safetensors"
    finding = next(f for f in check_graph(graph).findings if f.id == "shift-ineffective")
    assert finding.severity == "note"


def test_the_teachers_own_boundary() -> None:
    graph = two_experts({"steps": 20, "end_at_step": 10, "cfg": 3.5}, {"steps": 20, "start_at_step": 10}, shift=8)
    graph["3"]["inputs"]["model"], graph["23"]["inputs"]["model"] = ["1", 0], ["21", 0]
    del graph["2"], graph["22"]
    (finding,) = check_graph(graph).findings
    assert (finding.id, finding.severity) == ("expert-boundary", "note") and "0.875" in finding.message


def test_a_strength_of_zero_is_no_student() -> None:
    graph = set_values(lightx2v(steps=20, cfg=5, sampler_name="uni_pc"), n2_strength_model=0)
    assert check_graph(graph).findings == ()


def test_unknown_nodes_end_a_path_honestly() -> None:
    graph = lightx2v()
    graph["3"] = node("SomebodysModelPatch", model=["2", 0], shift=5)
    report = check_graph(graph)
    assert report.samplers[0].sigmas is None
    (finding,) = report.findings
    assert finding.id == "cannot-tell" and "SomebodysModelPatch" in finding.message


def test_levels_that_depend_on_what_only_running_tells() -> None:
    graph = lightx2v(steps=["20", 0])
    graph["20"] = node("SomebodysStepChooser")
    (finding,) = check_graph(graph).findings
    assert finding.id == "cannot-tell" and finding.severity == "note"


def test_values_are_followed_through_primitives_and_switches() -> None:
    graph = lightx2v(steps=["20", 1])
    graph["20"] = node("ComfyMathExpression", expression="a * 2", **{"values.a": ["21", 0]})
    graph["21"] = node("ComfySwitchNode", switch=["24", 0], on_false=["22", 0], on_true=["23", 0])
    graph["22"], graph["23"] = node("PrimitiveInt", value=2), node("PrimitiveInt", value=10)
    graph["24"] = node("PrimitiveBoolean", value=False)
    assert check_graph(graph).findings == ()
    graph["24"]["inputs"]["value"] = True
    assert {f.id for f in check_graph(graph).findings} == {"levels-differ"}


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").rglob("*.json")), ids=lambda path: path.stem)
def test_shipped_workflows_are_neither_wrong_nor_doubtful(path: Path) -> None:
    report = check_workflow(path)
    assert not report.error
    assert [f for f in report.findings if f.severity != "note"] == []


def test_reports_are_json() -> None:
    report = check_graph(lightx2v(cfg=3)).to_dict()
    assert json.loads(json.dumps(report)) == report
    assert set(report["findings"][0]) >= {"id", "severity", "node", "title", "message", "source", "remedy"}
    assert set(report["samplers"][0]) >= {"node", "title", "sigmas", "timesteps"}


def test_every_kind_of_finding_is_explained() -> None:
    from wan_lite.check.explanations import EXPLANATIONS, explain

    made: set[Any] = {id for _, id, *_ in CASES.values()}
    assert made <= set(EXPLANATIONS)
    assert explain("same-noise").startswith("same-noise: ")
    with pytest.raises(ValueError, match="no kind of finding"):
        explain("x")
