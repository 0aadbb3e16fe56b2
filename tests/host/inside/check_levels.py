"""The levels that the pack computes from a workflow's numbers, against those of the running host."""

from __future__ import annotations

import math

import level_cases
import torch

from harness import is_absent, submodule


def agree(mine: list[float], theirs: torch.Tensor, case: object, relative: float = 1e-6) -> None:
    assert len(mine) == len(theirs), (case, mine, theirs.tolist())
    tensor = torch.tensor(mine, dtype=torch.float64)
    assert torch.allclose(tensor, theirs.double(), rtol=relative, atol=1e-6), (case, mine, theirs.tolist())


def check_schedulers() -> None:
    schedulers = submodule("check.levels.schedulers")
    for name, kind, settings, steps in level_cases.schedulers():
        theirs = level_cases.host_schedule(name, kind, settings, steps)
        mine = schedulers.schedule_levels(name, steps, level_cases.mine(submodule, kind, settings))
        # levels in the hundreds, where the host's own float32 rounds visibly, are compared to its last digits
        agree(mine, theirs, (name, kind, settings, steps), 3e-6 if kind.startswith("Continuous") else 1e-6)


def check_every_scheduler_of_the_host_is_known() -> None:
    import comfy.samplers

    assert set(submodule("check.levels.schedulers").SCHEDULERS) == set(comfy.samplers.SCHEDULER_NAMES)
    assert set(submodule("check.levels.sigma_nodes").DROPS_PENULTIMATE) == (
        comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS
    )


def check_timesteps() -> None:
    for kind, settings in level_cases.MODELS:
        mine, theirs = level_cases.mine(submodule, kind, settings), level_cases.host_sampling(kind, settings)
        levels = theirs.sigmas[:: max(len(theirs.sigmas) // 37, 1)]
        agree([mine.timestep(float(level)) for level in levels], theirs.timestep(levels), (kind, settings))
        for percent in (0.0, 0.2, 0.875, 1.0):
            level = theirs.percent_to_sigma(percent)
            assert math.isclose(min(mine.percent_to_sigma(percent), 999999999.9), level, rel_tol=1e-6), (kind, percent)


def check_nodes() -> None:
    nodes = submodule("check.levels.sigma_nodes")
    for name, values, kind, settings in level_cases.nodes():
        if is_absent(name):
            continue
        theirs = level_cases.run_host_node(name, values, kind, settings)
        for slot, levels in enumerate(theirs):
            if name in nodes.FROM_SIGMAS:
                mine = nodes.FROM_SIGMAS[name](level_cases.SIGMAS, values, slot)
            elif name in nodes.FROM_MODEL:
                mine = nodes.FROM_MODEL[name](level_cases.mine(submodule, kind, settings), values)
            else:
                mine = nodes.FROM_NUMBERS[name](values)
            agree(mine, levels, (name, values, slot))


def check_ddim_schedule_at_the_levels_of_a_model() -> None:
    import comfy.model_sampling as sampling

    to_ddim_sigmas = submodule("nodes.host.model_sampling").to_ddim_sigmas
    ddim_schedule, check_graph = submodule("samplers").ddim_schedule, submodule("check").check_graph
    cases = {
        "sd_xl_base.safetensors": (sampling.ModelSamplingDiscrete, sampling.EPS),
        "wan2.1_t2v_14B.safetensors": (sampling.ModelSamplingDiscreteFlow, sampling.CONST),
    }
    for file, parts in cases.items():
        for steps, shift, denoise in ((4, 1.0, 1.0), (20, 3.0, 0.6), (7, 0.5, 1.0)):
            model = level_cases._Model(type("Sampling", parts, {})())
            theirs = to_ddim_sigmas(ddim_schedule(steps, shift=shift, denoise=denoise), model)
            schedule = {"steps": steps, "shift": shift, "denoise": denoise, "model": ["1", 0]}
            graph = {
                "1": {"class_type": "UNETLoader", "inputs": {"unet_name": file}},
                "2": {"class_type": "WanLiteDDIMSchedule", "inputs": schedule},
                "3": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
                "4": {
                    "class_type": "SamplerCustom",
                    "inputs": {"model": ["1", 0], "sigmas": ["2", 0], "sampler": ["3", 0], "cfg": 1.0},
                },
            }
            [found] = check_graph(graph).samplers
            agree(list(found.sigmas), theirs, (file, steps, shift, denoise), 3e-6)
