"""Workflows with this pack's own nodes: contracts, schedules, solvers and the guider of two experts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from wan_lite.check import Report, check_graph
from wan_lite.check.knowledge import Knowledge
from wan_lite.check.training import trained_levels
from wan_lite.models.contract_files import stamp
from wan_lite.models.known_students import load_known_students
from wan_lite.samplers import VE, ddim_schedule, few_step_schedule, flow_schedule
from wan_lite.samplers.contract import PRESETS
from workflow_graphs import HIGH, LOW, Graph, lightx2v, node, set_values

STUDENT = "mine/student.safetensors"


def flow_sampler(**settings: Any) -> Graph:
    sampler = {"seed": 1, "steps": 20, "cfg": 1, "shift": 5, "denoise": 1, "on_mismatch": "error"} | settings
    return {
        "1": node("WanLiteStudentLoader", student_name=STUDENT, precision="auto", contract_preset="none"),
        "2": node("WanLiteEmptyLatent", width=0, height=0, batch_size=1, model=["1", 0]),
        "3": node("WanLiteTextEmbedsLoad", name="a.safetensors", index=0),
        "4": node("WanLiteFlowUniPCSampler", model=["1", 0], positive=["3", 0], latent_image=["2", 0], **sampler),
    }


def contract_sampling(**settings: Any) -> Graph:
    graph = flow_sampler()
    widgets = {"steps": 0, "shift": 0, "denoise": 1, "on_mismatch": "error"} | settings
    graph["5"] = node("WanLiteContractSampling", model=["1", 0], contract=["1", 1], **widgets)
    graph["6"] = node("BasicGuider", model=["5", 0], conditioning=["3", 0])
    graph["7"] = node("WanLiteNoise", noise_seed=3, mode="per item (CPU)")
    graph["4"] = node(
        "SamplerCustomAdvanced", noise=["7", 0], guider=["6", 0], sampler=["5", 1], sigmas=["5", 2],
        latent_image=["2", 0],
    )  # fmt: skip
    return graph


@pytest.fixture
def models(tmp_path: Path, vectors: Path) -> Path:
    """A model folder with a student that carries a contract."""
    (tmp_path / "mine").mkdir()
    shutil.copyfile(vectors / "wan_vae" / "wan21_tiny_official.safetensors", tmp_path / STUDENT)
    stamp(tmp_path / STUDENT, PRESETS["flow_unipc-20 shift 5"])
    return tmp_path


def check(graph: Graph, models: Path | None = None) -> Report:
    return check_graph(graph, Knowledge(models=[models] if models else []))


def test_the_sampler_nodes_own_schedule() -> None:
    (sampler,) = check(flow_sampler(steps=4)).samplers
    schedule = flow_schedule(4, shift=5.0)
    assert schedule.timesteps is not None and sampler.sigmas is not None
    assert sampler.sigmas == pytest.approx(schedule.sigmas.tolist(), abs=1e-7)
    assert list(sampler.timesteps or ()) == schedule.timesteps.tolist()
    assert (sampler.sampler, sampler.seed) == ("flow_unipc", 1)


def test_denoise_keeps_the_end() -> None:
    (sampler,) = check(flow_sampler(steps=10, denoise=0.5)).samplers
    assert sampler.sigmas == pytest.approx(flow_schedule(20, shift=5.0).sigmas[10:].tolist(), abs=1e-7)


def test_a_contract_in_the_file_is_read_where_the_file_is(models: Path) -> None:
    (unknown,) = check(contract_sampling()).samplers
    assert unknown.sigmas is None and STUDENT in unknown.unknown
    (known,) = check(contract_sampling(), models).samplers
    assert known.sigmas == pytest.approx(flow_schedule(20, shift=5.0).sigmas.tolist(), abs=1e-7)
    assert known.sampler == "flow_unipc"
    (changed,) = check(contract_sampling(steps=4, shift=3), models).samplers
    assert changed.sigmas == pytest.approx(flow_schedule(4, shift=3.0).sigmas.tolist(), abs=1e-7)


def test_another_shift_than_the_contracts_is_found_and_mended(models: Path) -> None:
    assert check(flow_sampler(steps=7, cfg=3), models).findings == ()
    (finding,) = check(flow_sampler(shift=3), models).findings
    assert (finding.id, finding.severity, finding.node) == ("levels-differ", "wrong", "4")
    assert [(c.node, c.input, c.value) for c in finding.changes] == [("4", "shift", 5)]


def test_another_solver_than_the_contracts(models: Path) -> None:
    graph = flow_sampler()
    graph["4"] = node("WanLiteDDIMSampler", **graph["4"]["inputs"], eta=0, clip_x0=0)
    assert "another-solver" in {finding.id for finding in check(graph, models).findings}


def test_files_outside_of_the_model_folders_are_never_read(models: Path, tmp_path: Path) -> None:
    outside = tmp_path / "inside"
    outside.mkdir()
    graph = set_values(contract_sampling(), n1_student_name=f"../{STUDENT}")
    (sampler,) = check(graph, outside).samplers
    assert sampler.sigmas is None


def experts(boundary: float = 0.875, high: str = HIGH, low: str = LOW) -> Graph:
    graph = lightx2v()
    graph["1"] = node("UNETLoader", unet_name=high, weight_dtype="default")
    graph["2"] = node("UNETLoader", unet_name=low, weight_dtype="default")
    graph["3"] = node(
        "WanLiteExpertsGuider", model_high_noise=["1", 0], model_low_noise=["2", 0], positive=["5", 0],
        negative=["5", 0], boundary=boundary, cfg_high_noise=4.0, cfg_low_noise=3.0, on_mismatch="error",
    )  # fmt: skip
    graph["10"] = node("WanLiteSolverFlowUniPC", order=2, kind="bh2", skip_corrector=0, on_mismatch="error")
    graph["11"] = node("WanLiteFlowSchedule", steps=40, shift=12.0, denoise=1.0, made_for="FlowUniPC")
    graph["12"] = node("RandomNoise", noise_seed=1)
    graph["7"] = node(
        "SamplerCustomAdvanced", noise=["12", 0], guider=["3", 0], sampler=["10", 0], sigmas=["11", 0],
        latent_image=["6", 0],
    )  # fmt: skip
    return graph


def test_the_guider_of_two_experts() -> None:
    report = check(experts())
    assert report.findings == ()
    fed = report.samplers[0].timesteps
    assert fed is not None and list(fed[:3]) == [999, 997, 995]
    (finding,) = check(experts(boundary=0.5)).findings
    assert (finding.id, finding.is_mendable) == ("expert-boundary", True)
    assert {f.id for f in check(experts(high=LOW, low=HIGH)).findings} >= {"experts-swapped"}


@pytest.mark.parametrize("student", load_known_students().students.values(), ids=lambda student: student.id)
def test_levels_of_known_students_fall_and_end_above_zero(student: Any) -> None:
    if student.fields is None:
        return
    levels, timesteps = trained_levels(student.fields)
    assert levels == sorted(levels, reverse=True) and levels[-1] > 0 and levels[0] <= 1
    assert len(levels) == len(timesteps) == student.fields["steps"]
    assert json.loads(json.dumps(timesteps)) == timesteps


@pytest.mark.parametrize("shift", [1.0, 0.5, 3.0])
def test_the_ddim_schedule_is_the_librarys(shift: float) -> None:
    for steps in (1, 2, 7, 10, 20, 50, 123, 500, 999):
        schedule = ddim_schedule(steps, shift=shift)
        assert schedule.timesteps is not None
        levels, timesteps = trained_levels({"solver": "ddim", "prediction": "epsilon", "steps": steps, "shift": shift})
        assert timesteps == schedule.timesteps.tolist(), steps
        assert levels == pytest.approx(schedule.to_process(VE).sigmas[:-1].tolist(), rel=1e-9)


def test_a_known_contract_and_its_alternative() -> None:
    students = load_known_students().students
    for number, solver in ((0, "renoise"), (1, "flow_euler")):
        graph = contract_sampling()
        graph["8"] = node("WanLiteKnownContract", family="lightx2v-wan2.1", alternative=number, role="any")
        graph["5"]["inputs"]["contract"] = ["8", 0]
        (sampler,) = check(graph).samplers
        contract = students["lightx2v-wan2.1"].contract()
        assert contract is not None and sampler.sampler == solver
        assert sampler.sigmas == pytest.approx(contract.schedule().sigmas.tolist(), abs=1e-7)
    graph["8"]["inputs"]["alternative"] = 2
    (sampler,) = check(graph).samplers
    assert sampler.sigmas is None and "alternative 2" in sampler.unknown


def test_contract_sampling_takes_an_alternative_of_what_it_finds() -> None:
    graph = contract_sampling(alternative=1)
    del graph["5"]["inputs"]["contract"]
    graph["1"] = node("UNETLoader", unet_name="wan2.1_t2v_14B_fp16.safetensors", weight_dtype="default")
    name = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"
    graph["9"] = node("WanLiteLoadLoRA", model=["1", 0], lora_name=name, strength=1.0, on_mismatch="error")
    graph["5"]["inputs"]["model"] = ["9", 0]
    report = check(graph)
    (sampler,) = report.samplers
    assert sampler.sampler == "flow_euler" and list(sampler.timesteps or ()) == pytest.approx(
        [1000, 937.5, 833.3333, 625]
    )
    assert [finding for finding in report.findings if finding.severity != "note"] == []


@pytest.mark.parametrize("family", ["lightx2v-wan2.1", "rcm-t2v", "fastwan2.2-5b", "by hand"])
def test_the_few_step_schedule(family: str) -> None:
    contract = load_known_students().students.get(family)
    graph = contract_sampling()
    widgets = {"denoising_steps": "1000, 757, 522", "shift": 8.0, "warp": False, "on_mismatch": "warn"}
    graph["8"] = node("WanLiteFewStepSchedule", family=family, **widgets)
    graph["9"] = node("WanLiteSolverRenoise", seed=0, on_mismatch="error")
    graph["4"]["inputs"] |= {"sampler": ["9", 0], "sigmas": ["8", 0]}
    (sampler,) = check(graph).samplers
    made = few_step_schedule([1000, 757, 522], shift=8.0, warp=False, timestep_cast="table")
    expected = made if contract is None else contract.contract().schedule()  # type: ignore[union-attr]
    assert sampler.sigmas == pytest.approx(expected.sigmas.tolist(), abs=1e-7)
    assert sampler.sampler == "renoise"


def test_few_step_experts_under_one_guider_are_one_student() -> None:
    graph = experts(boundary=0.5)
    for number, role in (("1", "high"), ("2", "low")):
        name = f"wan2.2_i2v_lightx2v_4steps_lora_v1_{role}_noise.safetensors"
        lora = {"lora_name": name, "strength": 1.0, "on_mismatch": "error"}
        graph[f"2{number}"] = node("WanLiteLoadLoRA", model=[number, 0], **lora)
    widgets = {"steps": 0, "shift": 0, "denoise": 1, "on_mismatch": "error", "alternative": 0}
    graph["30"] = node("WanLiteContractSampling", model=["21", 0], **widgets)
    graph["3"]["inputs"] |= {"model_high_noise": ["30", 0], "model_low_noise": ["22", 0]}
    graph["3"]["inputs"] |= {"cfg_high_noise": 1.0, "cfg_low_noise": 1.0}
    graph["7"]["inputs"] |= {"sampler": ["30", 1], "sigmas": ["30", 2]}
    report = check(graph)
    (sampler,) = report.samplers
    assert list(sampler.timesteps or ()) == pytest.approx([1000, 937.5, 833.3333, 625])
    assert [finding for finding in report.findings if finding.id in ("levels-differ", "another-solver")] == []
