"""Students through a real server: posted graphs against the vectors and against the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from host.client import Client
from host.graphs import Graph, declare, give_latent, node, paint, png_texts, saved_latent
from wan_lite.cli import main
from wan_lite.models import load_student
from wan_lite.models.wan_vae.config import WAN21
from wan_lite.samplers import ddim_schedule, flow_schedule

STUDENTS = ("student_16ch", "student_4ch")
MEAN, STD = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (WAN21.latents_mean, WAN21.latents_std))


def to_latent(normalised: Tensor) -> Tensor:
    """A normalised latent (1, 16, h, w) as a LATENT."""
    return normalised.unsqueeze(2) * STD + MEAN


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize(
    ("sampler", "steps", "shift"), [("ddim", 20, 1.0), ("flow-unipc", 20, 5.0), ("flow-unipc", 4, 3.0)]
)
def test_the_vectors_noise_gives_the_vectors_latents(
    comfy: Client, vectors: Path, name: str, sampler: str, steps: int, shift: float
) -> None:
    """Posted, with the vectors' own noise.

    A graph has no node that takes given noise, so the noise comes in as the picture of an image-to-image run whose own
    noise is switched off, divided by the weight that the host gives to a picture at the first sigma.
    """
    golden = load_file(vectors / name / "golden.safetensors")
    student = load_student(comfy.base / "models" / "wan_students" / name, preset="ddim-20 run_inference")
    if sampler == "ddim":
        schedule = ddim_schedule(steps, shift=shift)
        # the host's epsilon latent is not scaled by alpha
        weight = 1 / schedule.process.alpha(schedule.sigma_values[0])
        key, solver, sigmas = f"ddim{steps}", "WanLiteSolverDDIM", node("WanLiteDDIMSchedule", model=["1", 0])
    else:
        schedule = flow_schedule(steps, shift=shift)
        weight = 1 / (1 - schedule.sigma_values[0])
        key, solver, sigmas = f"unipc{steps}_shift{shift:g}", "WanLiteSolverFlowUniPC", node("WanLiteFlowSchedule")
    latent = give_latent(comfy.base, f"{name}_{key}", to_latent(student.to_vae_latent(golden["noise"] * weight)))
    defaults = comfy.object_info()
    graph = paint(name, sampler, steps=steps, shift=shift)
    graph["10"] = node("LoadLatent", latent=latent)
    graph["11"] = node(solver, **widget_defaults(defaults[solver]) | {"on_mismatch": "ignore"})
    widgets = widget_defaults(defaults[sigmas["class_type"]]) | {"steps": steps, "shift": shift, "denoise": 1.0}
    graph["12"] = node(sigmas["class_type"], **widgets | sigmas["inputs"])
    graph["13"] = node("BasicGuider", model=["1", 0], conditioning=["3", 0])
    graph["14"] = node("DisableNoise")
    links = {"noise": ["14", 0], "guider": ["13", 0], "sampler": ["11", 0], "sigmas": ["12", 0]}
    graph["4"] = node("SamplerCustomAdvanced", **links, latent_image=["10", 0])
    result = comfy.queue(graph)
    assert result.status == "success", (result.error, result.node_errors)
    expected = to_latent(golden[f"{key}.vae_input"])
    assert relative(saved_latent(comfy.base, result.outputs, "9"), expected) <= 1e-4


def widget_defaults(info: dict) -> dict:
    """The default of every widget of a node."""
    found = {}
    for name, (kind, *options) in {**info["input"].get("required", {}), **info["input"].get("optional", {})}.items():
        settings = options[0] if options else {}
        if "default" in settings:
            found[name] = settings["default"]
        elif isinstance(kind, list) or settings.get("options"):
            found[name] = (kind if isinstance(kind, list) else settings["options"])[0]
    return found


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize(("sampler", "steps", "shift"), [("ddim", 20, 1.0), ("flow-unipc", 6, 5.0)])
def test_png_is_that_of_the_command_line(
    comfy: Client, tmp_path: Path, name: str, sampler: str, steps: int, shift: float
) -> None:
    result = comfy.queue(paint(name, sampler, steps=steps, shift=shift, seed=11, batch_size=2))
    assert result.status == "success", (result.error, result.node_errors)
    models = comfy.base / "models"
    command = ["sample", "--student", str(models / "wan_students" / name)]
    command += ["--vae", str(models / "vae" / "wan21_tiny.safetensors"), "--sampler", sampler, "--steps", str(steps)]
    command += ["--embeds", str(models / "wan_lite_embeds" / f"{name}.safetensors"), "--shift", str(shift)]
    command += ["--seed", "11", "--batch", "2", "--out", str(tmp_path), "--quiet"]
    assert main(command) == 0  # not with 10 steps of ddim: those are the training preview, which rounds to 8 bits
    ours = [np.asarray(Image.open(path)) for path in sorted(tmp_path.glob("*.png"))]
    hosts = result.images("8")
    assert len(ours) == len(hosts) == 2
    for one, other in zip(ours, hosts, strict=True):
        assert one.shape == other.shape == (32, 32, 3)
        assert np.array_equal(one, other), np.abs(one.astype(int) - other).max()
    assert ours[0].std() > 1 and not np.array_equal(ours[0], ours[1])


def test_core_decodes_to_the_same_picture(comfy: Client) -> None:
    graph = paint("student_4ch", "flow-unipc", steps=4, shift=5.0)
    graph["20"] = node("VAELoader", vae_name="wan21_tiny.safetensors")
    graph["21"] = node("VAEDecode", samples=["4", 0], vae=["20", 0])
    graph["22"] = node("SaveImage", images=["21", 0], filename_prefix="tests/core")
    result = comfy.queue(graph)
    ours, cores = result.images("8")[0].astype(int), result.images("22")[0].astype(int)
    assert np.abs(ours - cores).max() <= 1


@pytest.mark.parametrize("extra", [None, {"extra_pnginfo": {"workflow": {"nodes": []}}}])
def test_contract_is_in_the_png(comfy: Client, extra: dict | None) -> None:
    """Headless, where the host keeps only the graph, and as the page queues it."""
    result = comfy.queue(paint("student_16ch", "ddim", steps=10, shift=1.0, seed=int(extra is None)), extra)
    texts = png_texts(result.image_bytes("8")[0])
    found = [texts["prompt"]["4"]["_meta"]["wan_lite.sampling_contract"]]
    if extra:
        found.append(texts["wan_lite.sampling_contract"]["4"])
        assert texts["workflow"] == {"nodes": []}
    for contract in found:
        assert (contract["solver"], contract["prediction"], contract["steps"]) == ("ddim", "epsilon", 10)
        assert contract["latent"] == {"channels": 16, "height": 4, "width": 4}


def broken(graph: Graph, node_id: str, **inputs: object) -> Graph:
    return graph | {node_id: {**graph[node_id], "inputs": graph[node_id]["inputs"] | inputs}}


def test_bad_input_is_the_nodes_error_and_the_queue_goes_on(comfy: Client) -> None:
    good = paint("student_16ch", "ddim", steps=4, shift=1.0)
    give_latent(comfy.base, "channels48", torch.ones(1, 48, 1, 2, 2))
    wide = broken(good, "6", samples=["7", 0]) | {"7": node("LoadLatent", latent="channels48.latent")}
    flow = declare(paint("student_16ch", "flow-unipc", steps=4, shift=5.0), "ddim-20 run_inference")
    flow["1"]["inputs"]["contract_preset"] = "ddim-20 run_inference"
    other_shift = declare(broken(good, "4", shift=5.0), "ddim-20 run_inference")
    files = comfy.base / "models" / "vae"
    (files / "truncated.safetensors").write_bytes((files / "wan21_tiny.safetensors").read_bytes()[:3000])
    truncated = broken(good, "5", vae_name="truncated.safetensors")
    cases = [
        (wide, "6", ("48", "16", "Wan 2.2 VAE")),
        (flow, "4", ("solver", "ddim", "flow_unipc")),
        (other_shift, "4", ("shift", "1", "5")),
        (truncated, "5", ("truncated.safetensors", "complete")),
    ]
    for graph, node_id, words in cases:
        result = comfy.queue(graph)
        assert result.status == "error" and result.error_node == node_id, (node_id, result)
        assert all(word in result.said for word in words), result.said
        assert comfy.queue(broken(good, "4", seed=len(result.said))).status == "success"


@pytest.mark.parametrize(
    ("node_id", "inputs", "kind"),
    [
        ("4", {"steps": 0}, "value_smaller_than_min"),
        ("4", {"shift": 0.0}, "value_smaller_than_min"),
        ("4", {"on_mismatch": "perhaps"}, "value_not_in_list"),
        ("1", {"student_name": "../wan_students/student_16ch"}, "custom_validation_failed"),
        ("1", {"student_name": "nowhere"}, "custom_validation_failed"),
        ("5", {"vae_name": "../vae/wan21_tiny.safetensors"}, "value_not_in_list"),
    ],
)
def test_refused_before_it_runs(comfy: Client, node_id: str, inputs: dict, kind: str) -> None:
    graph = paint("student_16ch", "ddim", steps=4, shift=1.0)
    del graph["9"]  # saves latents, which need no VAE
    result = comfy.queue(broken(graph, node_id, **inputs))
    assert result.status == "invalid"
    errors = [error for error in result.validation_errors() if error[0] == node_id]
    assert [error[1] for error in errors] == [kind], errors
    if kind == "custom_validation_failed":
        assert "models/wan_students" in errors[0][3], errors


def test_interrupt_and_progress(comfy: Client) -> None:
    """Stopped at a step, the next graph runs; the bar moves once a step and previews come with it."""
    graph = paint("student_4ch", "ddim", steps=1000, shift=1.0)
    seen: list[int] = []

    def stop(event: object) -> None:
        if isinstance(event, dict) and event["type"] == "progress" and event["data"]["node"] == "4":
            seen.append(event["data"]["value"])
            if len(seen) == 3:
                comfy.interrupt()

    result = comfy.queue(graph, on_event=stop)
    assert result.status == "interrupted" and max(seen) < 500, seen[-1]
    events: list[object] = []
    result = comfy.queue(paint("student_4ch", "ddim", steps=10, shift=1.0, seed=5), on_event=events.append)
    assert result.status == "success"
    steps = [e["data"] for e in events if isinstance(e, dict) and e["type"] == "progress" and e["data"]["node"] == "4"]
    assert steps[-1]["value"] == steps[-1]["max"] == 10
