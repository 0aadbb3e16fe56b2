"""VAEs, latents, sizes and text encoders that do not belong to the model."""

from __future__ import annotations

from collections.abc import Iterator

from ..graph.graph import Node
from ..report import DOUBTFUL, NOTE, WRONG, Finding
from ..trace.families import Family
from ..trace.follow import CannotTell, Value
from ..trace.latents import LatentTrace, VaeTrace
from ..trace.samplers import SamplerUse
from .case import Case, change_to

__all__ = ["check_latents"]

CORE = "ComfyUI 0.33.0 comfy/latent_formats.py, comfy/sd.py, comfy/supported_models.py"
DECODERS = ("VAEDecode", "VAEDecodeTiled", "WanLiteVAEDecode")
SAME_LATENT = {frozenset(("wan2.1", "qwen-image"))}
"""VAEs of one latent space whose decoders were trained apart."""


def check_latents(case: Case) -> Iterator[Finding]:
    """Check what is decoded, encoded and conditioned with against the model that samples it."""
    found: dict[tuple[str, str], Finding] = {}
    by_node = {use.node.id: use for use in case.survey.samplers}
    for finding in (*_decoders(case, by_node), *(f for use in case.survey.samplers for f in _of_sampler(case, use))):
        found.setdefault((finding.id, finding.node), finding)
    yield from found.values()


def _decoders(case: Case, by_node: dict[str, SamplerUse]) -> Iterator[Finding]:
    for node in case.survey.graph.of_type(*DECODERS):
        source = case.survey.latents.latent(node, "samples")
        use = by_node.get(source.node.id) if source.node else None
        if use is not None and use.model.family is not None:
            vae = case.survey.latents.vae(node)
            yield from _compare_vae(node, vae, use.model.family, "decodes latents of")


def _of_sampler(case: Case, use: SamplerUse) -> Iterator[Finding]:
    family = use.model.family
    if family is None or not family.is_judged:
        return
    source = use.latent
    if source.is_encoded and source.node is not None:
        vae = case.survey.latents.vae(source.node)
        yield from _compare_vae(source.node, vae, family, "encodes images for")
    yield from _sizes(case, source, family)
    if use.positive is not None:
        yield from _text(case, use, family)
        for maker in case.survey.latents.conditioning(*use.positive):
            if maker.link("vae") is not None:
                yield from _compare_vae(maker, case.survey.latents.vae(maker), family, "encodes images for")


def _compare_vae(node: Node, vae: VaeTrace, family: Family, does: str) -> Iterator[Finding]:
    if vae.vae is None or not family.vae or vae.vae == family.vae[0]:
        return
    wanted = family.vae[0]
    remedy = f"Load the {wanted} VAE for node {node.id}."
    if frozenset((vae.vae, wanted)) in SAME_LATENT:
        message = (
            f"The {vae.vae} VAE ({vae.file}) {does} {family.id}, whose own is {wanted}: the latent space is the same, "
            "the decoders were trained apart."
        )
        yield Finding("vae-mismatch", DOUBTFUL, node.id, node.title, message, CORE, remedy)
        return
    message = f"The {vae.vae} VAE ({vae.file or 'of a checkpoint'}) {does} {family.id}, whose latents are of {wanted}."
    yield Finding("vae-mismatch", WRONG, node.id, node.title, message, CORE, remedy)


def _sizes(case: Case, source: LatentTrace, family: Family) -> Iterator[Finding]:
    node = source.node
    if node is None or source.is_sampled or source.is_encoded:
        return
    frames = _typed(case, node, "length")
    if frames is not None and family.frames > 1 and isinstance(frames.value, int) and frames.value > 0:
        over = (frames.value - 1) % family.frames
        if over:
            made = frames.value - over
            message = (
                f"{frames.value} frames are asked for; {family.id} makes {family.frames} n + 1: there will be {made}."
            )
            change = change_to(frames, made)
            yield Finding(
                "frames", DOUBTFUL, node.id, node.title, message, CORE, f"Set length to {made}.",
                (change,) if change else (),
            )  # fmt: skip
    for side in ("width", "height"):
        size = _typed(case, node, side)
        if size is not None and isinstance(size.value, int) and size.value > 0 and size.value % family.cell:
            yield _side(node, side, size, family)


def _side(node: Node, side: str, size: Value, family: Family) -> Finding:
    """Half a cell is padded inside the network; less than a latent is cut off."""
    cut = size.value % (family.cell // 2)
    near = max(round(size.value / family.cell), 1) * family.cell
    what = (
        f"{size.value - cut} pixels remain of it"
        if cut
        else f"the network pads it to the next multiple of {family.cell}"
    )
    message = f"{side} is {size.value}, and {family.id} takes multiples of {family.cell}: {what}."
    change = change_to(size, near)
    return Finding(
        "sides", DOUBTFUL if cut else NOTE, node.id, node.title, message, CORE, f"Set {side} to {near}.",
        (change,) if change else (),
    )  # fmt: skip


def _typed(case: Case, node: Node, name: str) -> Value | None:
    if name not in node.inputs:
        return None
    found = case.survey.follow.value(node, name)
    return None if isinstance(found, CannotTell) else found


def _text(case: Case, use: SamplerUse, family: Family) -> Iterator[Finding]:
    assert use.positive is not None
    for clip in case.survey.latents.clips(*use.positive):
        if clip.type is None or not family.text or clip.type == family.text:
            continue
        message = f"The text encoder is loaded as {clip.type!r}; {family.id} was trained with that of {family.text!r}."
        change = change_to(clip.value, family.text)
        yield Finding(
            "text-encoder", WRONG, clip.node.id, clip.node.title, message, CORE,
            f"Load the text encoder with type {family.text}.", (change,) if change else (),
        )  # fmt: skip
