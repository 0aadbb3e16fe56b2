"""A sampler's settings beside its student's training: update, guidance, strength of a LoRA."""

from __future__ import annotations

from collections.abc import Iterator

from ..report import DOUBTFUL, WRONG, Change, Finding, show
from ..trace.models import LoadedFile
from ..trace.samplers import SamplerUse
from ..trace.updates import UpdateRule
from ..training import Training
from .case import change_to, finding_at, number_of, only, plain

__all__ = ["SOLVER_NAMES", "check_guidance", "check_strength", "check_update", "name_solver"]

SOLVER_NAMES = {
    "renoise": "fresh noise at each step (renoise; core's lcm)",
    "flow_euler": "Euler",
    "flow_unipc": "UniPC (Wan's own, of order 2 in the flow process)",
    "flow_dpmpp": "DPM++ (Wan's own)",
    "ddim": "DDIM",
}
"""Each solver's ``label``, and in brackets what tells it from core's. A copy: to import the solvers loads torch."""


def check_update(use: SamplerUse, way: Training) -> Iterator[Finding]:
    """Compare the update between levels, and whether a causal student is sampled as one."""
    rule = use.rule
    if rule is None or rule.ignores_levels:
        return
    if _needs_blocks(way) and rule.name != "ar_video":
        yield _report_not_causal(use, rule, way)
    elif use.levels and rule.solver != way.solver:
        yield _report_another_solver(use, rule, way)


def _needs_blocks(way: Training) -> bool:
    return "causal" in way.fields and way.core.get("sampler") == "SamplerARVideo"


def _report_not_causal(use: SamplerUse, rule: UpdateRule, way: Training) -> Finding:
    message = (
        f"This sampler samples all frames at once with {rule.name}; {way.title} was trained in blocks of frames, each "
        "from the ones before."
    )
    remedy = "Use SamplerARVideo, with the block length of training."
    return finding_at(use, "causal-student", WRONG, message, source=way.source, remedy=remedy)


def _report_another_solver(use: SamplerUse, rule: UpdateRule, way: Training) -> Finding:
    wanted = way.core.get("sampler")
    severity = DOUBTFUL if rule.near == way.solver else WRONG
    message = f"This sampler steps with {rule.name}; {way.title} was trained for {name_solver(way)}."
    changes = _make_sampler_change(use, wanted)
    remedy = f"Set the sampler to {wanted}." if wanted else f"Use Wan Lite's own solver ({way.solver})."
    return finding_at(use, "another-solver", severity, message, source=way.source, remedy=remedy, changes=changes)


def _make_sampler_change(use: SamplerUse, wanted: object) -> tuple[Change, ...]:
    if not isinstance(wanted, str) or wanted == "SamplerARVideo":
        return ()
    return only(change_to(use.values.get("sampler_name") or use.sampler_name, wanted))


def check_guidance(use: SamplerUse, way: Training) -> Iterator[Finding]:
    """Compare the guidance."""
    cfg, wanted = number_of(use.cfg), float(way.fields.get("cfg", 1.0))
    if cfg is None or cfg == wanted or not way.is_few_step:
        return
    severity = WRONG if wanted == 1 else DOUBTFUL
    yield finding_at(
        use, "cfg-differs", severity, _describe_guidance(cfg, wanted, way), source=way.source,
        remedy=f"Set cfg to {show(wanted)}.", changes=only(change_to(use.cfg, plain(wanted))),
    )  # fmt: skip


def _describe_guidance(cfg: float, wanted: float, way: Training) -> str:
    if wanted != 1:
        return f"This sampler runs with cfg {show(cfg)}; {way.title} is sampled with {show(wanted)}."
    return (
        f"This sampler runs with cfg {show(cfg)}: a second, negative pass in every call of the network; {way.title} "
        "was trained without guidance (cfg 1)."
    )


def check_strength(use: SamplerUse, file: LoadedFile, way: Training) -> Iterator[Finding]:
    """Compare a LoRA's strength."""
    strength, wanted = number_of(file.strength), way.fields.get("lora_strength")
    if strength is None or wanted is None or file not in use.model.loras or abs(strength - wanted) < 1e-6:
        return
    message = f"{file.name} is added with strength {show(strength)}; {way.title} was trained for {show(wanted)}."
    yield Finding(
        "strength-differs", DOUBTFUL, file.node.id, file.node.title, message, way.source,
        f"Set the strength to {show(wanted)}.", only(change_to(file.strength, plain(wanted))),
    )  # fmt: skip


def name_solver(way: Training) -> str:
    """Return a training's update in words."""
    return SOLVER_NAMES.get(way.solver, way.solver)
