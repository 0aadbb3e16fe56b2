"""Samplers that follow each other: noise left, lost, doubled or repeated, and experts in each other's place."""

from __future__ import annotations

from collections.abc import Iterator

from ...models.known_students import expert_role, find_swapped_experts
from ...training_rules import TEACHER_BOUNDARIES
from ..report import DOUBTFUL, NOTE, WRONG, Finding, show, show_all
from ..trace.models import ModelTrace
from ..trace.runs import Run, previous_of
from ..trace.samplers import SamplerUse
from .case import Case, change_to, finding_at, only

__all__ = ["check_stages"]

CORE = "ComfyUI 0.33.0 nodes.py (KSamplerAdvanced), comfy/samplers.py, comfy/k_diffusion/sampling.py"
WAN = "Wan-Video/Wan2.2@42bf4cf wan/configs/wan_t2v_A14B.py, wan_i2v_A14B.py, wan/text2video.py"
NEAR, FAR = 0.002, 0.05

DECODERS = ("VAEDecode", "VAEDecodeTiled", "WanLiteVAEDecode", "WanLiteSaveVideo")


def check_stages(case: Case) -> Iterator[Finding]:
    """Check every pair of samplers of which one continues the other, and what is decoded."""
    by_node = {use.node.id: use for use in case.survey.samplers}
    for use in case.survey.samplers:
        before = previous_of(use, by_node)
        if before is not None:
            yield from _check_handover(before, use)
            yield from _check_noise(before, use)
        if use.low_expert is not None:
            yield from _check_guider(use, use.low_expert)
    yield from _check_decoders(case, by_node)
    for run in case.runs:
        yield from _check_experts(case, run)


def _is_from_x0(use: SamplerUse) -> bool:
    """Whether it continues the second output of the one before: its estimate of the image, without noise."""
    return use.latent.slot == 1


def _check_handover(before: SamplerUse, use: SamplerUse) -> Iterator[Finding]:
    """The level at which one sampler stops and the next one goes on."""
    if before.last_level is None or not use.sigmas.levels or use.adds_noise is None or len(use.sigmas.levels) < 2:
        return
    left, first = 0.0 if _is_from_x0(use) else before.last_level, use.sigmas.levels[0]
    if use.adds_noise and left > NEAR:
        yield _report_doubled_noise(before, use, left, first)
    elif not use.adds_noise and left <= NEAR < first:
        yield _report_lost_noise(before, use, first)
    elif not use.adds_noise and abs(first - left) > NEAR:
        yield _report_gap(before, use, left, first)


def _report_doubled_noise(before: SamplerUse, use: SamplerUse, left: float, first: float) -> Finding:
    message = (
        f"This sampler adds its own noise to a latent in which node {before.node.id} has left noise of level "
        f"{show(left)}: there is more of it than at its first level, {show(first)}."
    )
    return finding_at(use, "noise-doubled", WRONG, message, source=CORE, **_suggest_no_noise(use))


def _report_lost_noise(before: SamplerUse, use: SamplerUse, first: float) -> Finding:
    message = (
        f"This sampler adds no noise and starts at level {show(first)}, but node {before.node.id} has taken all noise "
        "out: it will see a clean latent where it expects a noisy one."
    )
    return finding_at(use, "noise-lost", WRONG, message, source=CORE, **_suggest_keeping_noise(before))


def _report_gap(before: SamplerUse, use: SamplerUse, left: float, first: float) -> Finding:
    message = (
        f"This sampler starts at level {show(first)}, but node {before.node.id} stops at {show(left)}: it expects "
        f"{'more' if first > left else 'less'} noise than there is, by {show(abs(first - left))}."
    )
    severity = WRONG if abs(first - left) > FAR else DOUBTFUL
    return finding_at(use, "level-gap", severity, message, source=CORE, **_suggest_same_step(before, use))


def _suggest_no_noise(use: SamplerUse) -> dict[str, object]:
    change = change_to(use.values.get("add_noise"), "disable" if use.node.type == "KSamplerAdvanced" else False)
    by_hand = "Give it DisableNoise." if change is None else ""
    return {"remedy": by_hand or f"Set add_noise of node {use.node.id} to disable.", "changes": only(change)}


def _suggest_keeping_noise(before: SamplerUse) -> dict[str, object]:
    change = change_to(before.values.get("return_with_leftover_noise"), "enable")
    remedy = f"Set return_with_leftover_noise of node {before.node.id} to enable."
    by_hand = f"Let node {before.node.id} stop at this level, or let this sampler add noise."
    return {"remedy": remedy if change else by_hand, "changes": only(change)}


def _suggest_same_step(before: SamplerUse, use: SamplerUse) -> dict[str, object]:
    end, start = before.values.get("end_at_step"), use.values.get("start_at_step")
    same_grid = before.whole is not None and before.whole == use.whole
    change = change_to(start, end.value) if end is not None and same_grid else None
    by_hand = "Give both samplers the same schedule, cut at one step."
    remedy = f"Set start_at_step of node {use.node.id} to {end.value}." if end is not None and change else by_hand
    return {"remedy": remedy, "changes": only(change)}


def _check_noise(before: SamplerUse, use: SamplerUse) -> Iterator[Finding]:
    """Two stochastic samplers with one seed draw the same noises."""
    both = before.rule and use.rule and before.rule.is_stochastic and use.rule.is_stochastic
    if not both or before.seed is None or use.seed is None or before.seed.value != use.seed.value:
        return
    if not before.levels or not use.levels or use.rule is None:
        return
    message = (
        f"This sampler draws the same noises as node {before.node.id}: both are stochastic ({use.rule.name}) and have "
        f"seed {use.seed.value}."
    )
    change = change_to(use.seed, int(use.seed.value) + 1) if isinstance(use.seed.value, int) else None
    remedy = f"Give node {use.node.id} another seed."
    if change is not None and (change.node, change.input) == (before.seed.node, before.seed.input):
        change = None
    yield finding_at(use, "same-noise", DOUBTFUL, message, source=CORE, remedy=remedy, changes=only(change))


def _check_decoders(case: Case, by_node: dict[str, SamplerUse]) -> Iterator[Finding]:
    """A latent that still holds noise is made into images."""
    for node in case.survey.graph.of_type(*DECODERS):
        source = case.survey.latents.latent(node, "samples")
        use = by_node.get(source.node.id) if source.node else None
        if use is None or source.slot == 1 or use.last_level is None or use.last_level <= NEAR:
            continue
        message = (
            f"This sampler stops at level {show(use.last_level)}, and node {node.id} decodes the noise that is left."
        )
        change = change_to(use.values.get("return_with_leftover_noise"), "disable")
        remedy = (
            f"Set return_with_leftover_noise of node {use.node.id} to disable."
            if change
            else "Let the levels end at 0, or decode the denoised output."
        )
        yield finding_at(use, "noise-decoded", WRONG, message, source=CORE, remedy=remedy, changes=only(change))


def _check_experts(case: Case, run: Run) -> Iterator[Finding]:
    """Two experts by the names of their files: their order, and for the teacher the boundary between them."""
    for first, second in zip(run.samplers, run.samplers[1:], strict=False):
        files = first.model.file, second.model.file
        if files[0] is None or files[1] is None:
            continue
        swapped = find_swapped_experts(files[0].name, files[1].name)
        if swapped and first.levels and second.levels and first.levels[0] > second.levels[0]:
            yield finding_at(first, "experts-swapped", WRONG, swapped, source=WAN, remedy="Exchange the two MODELs.")
        elif not swapped and not any(True for use in (first, second) for _ in case.trainings(use.model)):
            yield from _check_teacher_boundary(first, second)
        yield from _check_lora_roles(first)
    yield from _check_lora_roles(run.samplers[-1])


def _check_teacher_boundary(first: SamplerUse, second: SamplerUse) -> Iterator[Finding]:
    boundary = _find_boundary(first.model)
    if boundary is None or not first.levels or not second.levels or expert_role(_get_file_name(first.model)) != "high":
        return
    early, late = [x for x in first.levels if x < boundary - NEAR], [x for x in second.levels if x >= boundary + NEAR]
    if not early and not late:
        return
    worst = max([boundary - x for x in early] + [x - boundary for x in late])
    count = len(first.levels) - len(early) + len(late)
    message = (
        f"The low-noise expert takes over at level {show(second.levels[0])}; Wan's own code changes at "
        f"{show(boundary)}: with these levels ({show_all([*first.levels, *second.levels])}) after {count} steps "
        f"instead of {len(first.levels)}."
    )
    changes = [change_to(first.values.get("end_at_step"), count), change_to(second.values.get("start_at_step"), count)]
    found = tuple(change for change in changes if change is not None)
    yield finding_at(
        second, "expert-boundary", DOUBTFUL if worst > FAR else NOTE, message, source=WAN,
        remedy=f"Change experts at step {count}.", changes=found if len(found) == 2 else (),
    )  # fmt: skip


def _check_lora_roles(use: SamplerUse) -> Iterator[Finding]:
    """A LoRA of one expert on the other expert's checkpoint."""
    role = expert_role(_get_file_name(use.model)) if use.model.file else None
    for lora in use.model.loras:
        of_lora = expert_role(lora.name)
        if role and of_lora and role != of_lora:
            message = f"{lora.name} is for the {of_lora}-noise expert, but is added to {_get_file_name(use.model)}."
            yield Finding(
                "experts-swapped", WRONG, lora.node.id, lora.node.title, message, WAN,
                f"Add the LoRA of the {role}-noise expert.",
            )  # fmt: skip


def _check_guider(use: SamplerUse, low: ModelTrace) -> Iterator[Finding]:
    """The guider of two experts: their order, and the level at which they change."""
    swapped = (
        find_swapped_experts(_get_file_name(use.model), _get_file_name(low)) if use.model.file and low.file else None
    )
    if swapped:
        yield finding_at(use, "experts-swapped", WRONG, swapped, source=WAN, remedy="Exchange the two MODELs.")
    wanted = _find_boundary(use.model)
    boundary = use.boundary.value if use.boundary else None
    if wanted is None or not isinstance(boundary, int | float) or abs(boundary - wanted) < NEAR:
        return
    message = (
        f"The experts change at {show(boundary)}; Wan's own code changes at {show(wanted)} for "
        f"{_get_file_name(use.model)}."
    )
    change = change_to(use.boundary, wanted)
    yield finding_at(
        use, "expert-boundary", DOUBTFUL, message, source=WAN, remedy=f"Set the boundary to {show(wanted)}.",
        changes=only(change),
    )  # fmt: skip


def _find_boundary(model: ModelTrace) -> float | None:
    name = _get_file_name(model).lower()
    found = [boundary for word, boundary in TEACHER_BOUNDARIES.items() if f"_{word}_" in name.replace("-", "_")]
    is_a14b = model.family is not None and model.family.id == "Wan 2.2 A14B"
    return found[0] if len(found) == 1 and is_a14b else None


def _get_file_name(model: ModelTrace) -> str:
    return model.file.name if model.file else ""
