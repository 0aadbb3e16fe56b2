"""ComfyUI's samplers by name: which update they make, and whether they draw noise of their own.

Source: ComfyUI 0.33.0, comfy/k_diffusion/sampling.py and comfy/samplers.py.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SAMPLER_NODES", "UpdateRule", "find_rule"]


@dataclass(frozen=True)
class UpdateRule:
    """How a sampler gets from one level to the next.

    Attributes:
        name: As ComfyUI has it.
        solver: The same in the words of a sampling contract, where there is one.
        near: A contract's solver of the same kind that is not the same to the digit.
        is_stochastic: Whether it draws noise of its own between steps.
        ignores_levels: Whether it takes only the ends of the SIGMAS and makes the rest itself.
        is_single: Whether the network is called once a step, at the step's own level.
    """

    name: str
    solver: str = ""
    near: str = ""
    is_stochastic: bool = False
    ignores_levels: bool = False
    is_single: bool = True


SOLVERS = {"euler": "flow_euler", "ddim": "flow_euler", "lcm": "renoise", "ar_video": "renoise"}
NEAR = {"uni_pc": "flow_unipc", "uni_pc_bh2": "flow_unipc", "dpmpp_2m": "flow_dpmpp"}
STOCHASTIC = ("lcm", "ddpm", "er_sde", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece", "ar_video")
IGNORING = ("dpm_fast", "dpm_adaptive")
SEVERAL = (
    "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde",
    "dpmpp_sde_gpu", "seeds_2", "seeds_3", "exp_heun_2_x0", "exp_heun_2_x0_sde", "sa_solver_pece", "ar_video",
)  # fmt: skip

SAMPLER_NODES = {
    "SamplerLCM": "lcm", "SamplerLCMUpscale": "lcm", "SamplerEulerAncestral": "euler_ancestral",
    "SamplerEulerAncestralCFGPP": "euler_ancestral_cfg_pp", "SamplerEulerCFGpp": "euler_cfg_pp", "SamplerLMS": "lms",
    "SamplerDPMPP_2M_SDE": "dpmpp_2m_sde", "SamplerDPMPP_3M_SDE": "dpmpp_3m_sde", "SamplerDPMPP_SDE": "dpmpp_sde",
    "SamplerDPMPP_2S_Ancestral": "dpmpp_2s_ancestral", "SamplerDPMAdaptative": "dpm_adaptive",
    "SamplerER_SDE": "er_sde", "SamplerSASolver": "sa_solver", "SamplerSEEDS2": "seeds_2",
    "SamplerARVideo": "ar_video",
}  # fmt: skip
"""Nodes that put out a SAMPLER, and the sampler that it is."""


def find_rule(name: str) -> UpdateRule:
    """Return the rule of a sampler by its name in ComfyUI, or of one of this pack's solvers."""
    if name in OURS:
        return OURS[name]
    return UpdateRule(
        name,
        SOLVERS.get(name, ""),
        NEAR.get(name, ""),
        is_stochastic=name in STOCHASTIC or "ancestral" in name or "_sde" in name,
        ignores_levels=name in IGNORING,
        is_single=name not in SEVERAL,
    )


OURS = {
    name: UpdateRule(name, name, is_stochastic=name == "renoise")
    for name in ("flow_unipc", "flow_dpmpp", "flow_euler", "renoise")
} | {"wan_lite_ddim": UpdateRule("wan_lite_ddim", "ddim")}
