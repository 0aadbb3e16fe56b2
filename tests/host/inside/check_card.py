"""Sampling as on a card, with the meta device in its place: nothing in the loop makes the host wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import tiny_models
import torch
from meta_card import pretend_card
from students import ddim, flow, text
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness import raises, run, submodule

STEPS, MOST_KERNELS = 4, 90


@contextmanager
def count_loop() -> Iterator[dict[str, Any]]:
    """Count what the sampling loop alone does: not what is checked before it and fetched after it."""
    adapter, counting = submodule("nodes.host.solver_adapter"), submodule("benchmarks.counting")
    found: dict[str, Any] = {}
    original = adapter.integrate

    def integrate(*args: Any, **kwargs: Any) -> Any:
        counts = found["counts"]
        reads, copies, kernels = counts.host_reads, counts.copies_to_host, counts.kernels
        result = original(*args, **kwargs)
        found["reads"] = counts.host_reads - reads
        found["copies"] = counts.copies_to_host - copies
        found["kernels"] = counts.kernels - kernels
        return result

    with mock.patch.object(adapter, "integrate", integrate), torch.no_grad(), counting.count_calls() as counts:
        found["counts"] = counts
        yield found


def sample_on_card(node_id: str, load: Any, **settings: Any) -> dict[str, Any]:
    with pretend_card():
        model = load("student_4ch")
        (latent,) = run("WanLiteEmptyLatent", model=model, batch_size=2)
        with count_loop() as found:
            given = {"model": model, "positive": text("student_4ch"), "latent_image": latent, "steps": STEPS}
            run(node_id, **given, on_mismatch="ignore", **settings)
    return found


def assert_waits_for_nothing(found: dict[str, Any], *told: object) -> None:
    assert found["reads"] == 0 and found["copies"] == 0, (told, found["reads"], found["copies"])
    assert set(found["counts"].mixed) <= {"_to_copy", "copy"}, found["counts"].mixed


def check_a_students_loop_reads_nothing() -> None:
    for node_id, load in (("WanLiteFlowUniPCSampler", flow), ("WanLiteDDIMSampler", ddim)):
        guided = {"cfg": 3.0, "negative": text("student_4ch")}
        for settings in ({}, guided, {"eta": 0.5} if load is ddim else {}):
            found = sample_on_card(node_id, load, **settings)
            assert_waits_for_nothing(found, node_id, settings)
            assert found["kernels"] <= MOST_KERNELS * STEPS * (2 if settings is guided else 1), found["kernels"]


def check_reads_would_be_seen() -> None:
    """Where nobody tells the step's level, it is read from the device, for the reading of x0."""
    with mock.patch.object(submodule("nodes.host.solver_adapter").HostDenoiser, "_tell"):
        assert sample_on_card("WanLiteFlowUniPCSampler", flow)["reads"] == STEPS


def check_a_level_that_is_held_does_not_answer_for_others() -> None:
    """Core's Differential Diffusion asks for the timesteps of the first and the last level, too, at each step."""
    sampling = submodule("nodes.host.model_sampling")
    schedule = submodule("samplers.schedule").flow_schedule(8, shift=5.0)
    kind = sampling.make_fixed_schedule(schedule, submodule("samplers.prediction").Prediction.VELOCITY, 5.0)
    levels = schedule.sigmas[:-1].float()
    kind.hold_sigma(float(levels[3]))
    assert kind.timestep(levels).tolist() == [float(schedule.timestep_at(one)) for one in schedule.sigma_values[:-1]]
    assert kind.timestep(levels[0]).shape == () and kind.find_step(levels[5:6]) == 3


def check_differential_diffusion_denoises_inside_its_mask() -> None:
    model = flow("student_16ch")
    (latent,) = run("WanLiteEmptyLatent", model=model, batch_size=1)
    given = {"positive": text("student_16ch"), "steps": 8, "shift": 5.0, "on_mismatch": "ignore"}
    image = {**latent, "samples": torch.randn_like(latent["samples"])}
    mask = torch.linspace(0, 1, latent["samples"].shape[-1]).expand(1, 1, latent["samples"].shape[-2], -1)
    (gradual,) = run("DifferentialDiffusion", model=model)
    found = []
    for chosen in (model, gradual):
        made, *_ = run("WanLiteFlowUniPCSampler", model=chosen, latent_image={**image, "noise_mask": mask}, **given)
        assert made["samples"].isfinite().all()
        found.append((made["samples"] - image["samples"]).abs().mean(dim=tuple(range(made["samples"].ndim - 1))))
    sharp, soft = found
    assert sharp[0] < 1e-5 < 2 * soft[0] < soft[-1], found  # the later a column joins in, the less of it changes
    assert torch.equal(soft, soft.sort().values), found


def make_sampler(schedule: Any) -> Any:
    """A SAMPLER that has its levels already: those that the host moves to the card lose their values there."""
    solver = submodule("samplers.solvers.unipc").FlowUniPC()
    adapter = submodule("nodes.host.solver_adapter")
    return adapter.make_sampler(adapter.SolverRun(solver, schedule=schedule, from_noise=True))


def check_two_experts_are_chosen_without_a_read() -> None:
    schedule = submodule("samplers.schedule").flow_schedule(8, shift=12.0)
    with pretend_card() as card:
        high, low = tiny_models.wan(seed=1), tiny_models.wan(seed=2)
        asked = []
        for name, model in (("high", high), ("low", low)):
            model.load_device = card
            network = model.model.diffusion_model
            network.register_forward_pre_hook(lambda *_, name=name: asked.append(name))
        prompts = {"positive": tiny_models.text(seed=3), "negative": tiny_models.text(seed=4)}
        (guider,) = run("WanLiteExpertsGuider", model_high_noise=high, model_low_noise=low, **prompts)
        noise = torch.randn(1, 16, 1, 8, 6)
        with count_loop() as found, mock.patch("comfy.samplers.comfy.model_management.current_loaded_models", []):
            guider.sample(noise, torch.zeros_like(noise), make_sampler(schedule), schedule.sigmas.float(), seed=1)
    found["reads"] -= 1  # the second expert, where it is loaded: whether the latent is empty
    assert_waits_for_nothing(found)
    assert asked[0] == "high" and asked[-1] == "low", asked


def check_a_contracts_timesteps_are_looked_up_on_the_device() -> None:
    """Each of the schedule's own levels gives its own timestep, any other what the cast makes of it."""
    sampling, few_step = submodule("nodes.host.model_sampling"), submodule("samplers.few_step")
    schedule = few_step.few_step_schedule([1000, 750, 500, 250], shift=5.0, warp=True)
    kind = sampling.ContractFlow(schedule, 5.0, 1000.0)
    own = schedule.sigmas[:-1].float()
    assert torch.equal(kind.timestep(own), schedule.timesteps.float())
    others = torch.tensor([0.123456, 0.9], dtype=torch.float32)
    assert kind.timestep(others).tolist() == [schedule.timestep_at(float(level)) for level in others.double()]
    with submodule("benchmarks.counting").count_calls() as counts:
        assert kind.timestep(torch.empty(2, device="meta")).device.type == "meta"
        assert sampling.TruncatedFlow().timestep(torch.empty(2, device="meta")).device.type == "meta"
    assert counts.host_reads == counts.copies_to_host == 0


def check_no_float64_is_asked_of_a_device_that_has_none() -> None:
    """Apple's MPS has none: levels go to the CPU first."""
    sampling, timesteps = submodule("nodes.host.model_sampling"), submodule("samplers.timesteps")
    schedule = submodule("samplers.schedule").flow_schedule(4, shift=5.0)
    kinds = [sampling.TruncatedFlow(), sampling.ContractFlow(schedule, 5.0, 1000.0)]
    levels = torch.empty(3, device="meta")
    with (
        mock.patch.object(timesteps, "_WITH_FLOAT64", {"cpu"}),
        submodule("benchmarks.counting").count_calls(),
        NoFloat64(),
    ):
        for kind in kinds:
            assert kind.timestep(levels).device.type == "meta"
        submodule("samplers.schedule").infer_shift(torch.empty(5, device="meta"))
        raises(RuntimeError, levels.double)


class NoFloat64(TorchDispatchMode):
    """A meta device without float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.is_meta and tensor.dtype == torch.float64:
                raise RuntimeError("this device has no float64")
        return result


def check_levels_of_several_timesteps_come_from_where_the_host_put_them() -> None:
    """The host moves the table of sigmas to the card with its model."""
    sampling = submodule("nodes.host.model_sampling")
    schedule = submodule("samplers.schedule").flow_schedule(4, shift=5.0)
    kind = sampling.make_fixed_schedule(schedule, submodule("samplers.prediction").Prediction.VELOCITY, 5.0)
    given = torch.tensor([10.0, 500.5, 999.0])
    expected = torch.lerp(kind.sigmas[[10, 500, 999]], kind.sigmas[[10, 501, 999]], given.frac())
    assert torch.equal(kind.sigma(given), expected)
    kind.to("meta")
    with submodule("benchmarks.counting").count_calls() as counts:
        assert kind.sigma(given).shape == (3,)
    assert not counts.mixed
