"""VAEs, latents, sizes and text encoders that do not belong to the model."""

from __future__ import annotations

from collections.abc import Iterator

from ..graph.graph import Node
from ..report import DOUBTFUL, NOTE, WRONG, Finding
from ..trace.families import Family
from ..trace.follow import Value
from ..trace.geometry import GEOMETRIES, OF_VAE, Geometry
from ..trace.latents import LatentTrace, VaeTrace
from ..trace.samplers import SamplerUse
from .case import Case, change_to, only

__all__ = ["check_latents"]

CORE = "ComfyUI 0.33.0 comfy/latent_formats.py, comfy/sd.py, comfy/supported_models.py"
DECODERS = ("VAEDecode", "VAEDecodeTiled", "WanLiteVAEDecode", "WanLiteSaveVideo")
SAME_LATENT = {frozenset(("wan2.1", "qwen-image"))}
"""VAEs of one latent space whose decoders were trained apart."""


def check_latents(case: Case) -> Iterator[Finding]:
    """Check what is decoded, encoded and conditioned with against the model that samples it."""
    found: dict[tuple[str, str], Finding] = {}
    by_node = {use.node.id: use for use in case.survey.samplers}
    of_samplers = (f for use in case.survey.samplers for f in _check_sampler(case, use, by_node))
    for finding in (*_check_decoders(case, by_node), *of_samplers):
        found.setdefault((finding.id, finding.node), finding)
    yield from found.values()


def _check_decoders(case: Case, by_node: dict[str, SamplerUse]) -> Iterator[Finding]:
    for node in case.survey.graph.of_type(*DECODERS):
        source = case.survey.latents.latent(node, "samples")
        use = by_node.get(source.node.id) if source.node else None
        if use is not None and use.model.family is not None:
            vae = case.survey.latents.vae(node)
            yield from _compare_vae(node, vae, use.model.family, "decodes latents of")


def _check_sampler(case: Case, use: SamplerUse, by_node: dict[str, SamplerUse]) -> Iterator[Finding]:
    family = use.model.family
    if family is None or not family.is_judged:
        return
    source = use.latent
    if source.is_encoded and source.node is not None:
        vae = case.survey.latents.vae(source.node)
        yield from _compare_vae(source.node, vae, family, "encodes images for")
    yield from _compare_sampled(use, family, by_node)
    yield from _compare_geometry(case, source, family)
    yield from _check_sizes(case, source, family)
    if use.positive is not None:
        yield from _check_text(case, use, family)
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


def _compare_sampled(use: SamplerUse, family: Family, by_node: dict[str, SamplerUse]) -> Iterator[Finding]:
    """A latent that another model has sampled must be of the same geometry: nothing repairs it."""
    source = use.latent
    before = by_node.get(source.node.id) if source.node and source.is_sampled else None
    other = before.model.family if before else None
    if before is None or other is None or not other.vae or OF_VAE[other.vae[0]] == OF_VAE[family.vae[0]]:
        return
    has, takes = OF_VAE[other.vae[0]], OF_VAE[family.vae[0]]
    message = (
        f"The latent was sampled by {other.id} at node {before.node.id} and has {has.channels} channels; {family.id} "
        f"takes {takes.channels}, of {takes.cell} pixels a side instead of {has.cell}."
    )
    remedy = "Decode it with its own VAE and encode the images with this model's."
    yield Finding("latent-mismatch", WRONG, use.node.id, use.node.title, message, CORE, remedy)


def _compare_geometry(case: Case, source: LatentTrace, family: Family) -> Iterator[Finding]:
    """An empty latent made for other models: what a sampler does not repair of it."""
    node = source.node
    made = GEOMETRIES.get(node.type) if node else None
    if node is None or made is None or source.via:
        return
    takes = OF_VAE[family.vae[0]]
    if made.cell != takes.cell and not made.is_told:
        yield _report_sides(case, node, made, family)
    length = _get_typed(case, node, "length")
    if made.frames != takes.frames and made.frames > 1 and family.frames > 1 and length is not None:
        frames = (length.value - 1) // made.frames * takes.frames + 1
        if frames != length.value:
            message = (
                f"{length.value} frames are asked for, but in latents of {made.frames}; {family.id} makes {frames}."
            )
            yield Finding("latent-mismatch", DOUBTFUL, node.id, node.title, message, CORE, _name_maker(family))


def _report_sides(case: Case, node: Node, made: Geometry, family: Family) -> Finding:
    takes = OF_VAE[family.vae[0]]
    sides = [_get_typed(case, node, side) for side in ("width", "height")]
    size = " x ".join(str(side.value // made.cell * takes.cell) for side in sides if side)
    message = (
        f"{node.type} makes one latent of {made.cell} pixels a side, and {family.id} one of {takes.cell}: the images "
        f"come out at {takes.cell / made.cell:g} times the size" + (f", {size}." if len(size.split()) == 3 else ".")
    )
    return Finding("latent-mismatch", WRONG, node.id, node.title, message, CORE, _name_maker(family))


def _name_maker(family: Family) -> str:
    maker = {"wan2.2": "Wan22ImageToVideoLatent", "wan2.1": "EmptyHunyuanLatentVideo"}.get(family.vae[0])
    return f"Make the latent with {maker or 'EmptySD3LatentImage'}."


def _check_sizes(case: Case, source: LatentTrace, family: Family) -> Iterator[Finding]:
    node = source.node
    if node is None or source.is_sampled or source.is_encoded:
        return
    frames = _get_typed(case, node, "length")
    if frames is not None and (frames.value - 1) % family.frames:
        yield _report_frames(node, frames, family)
    for side in ("width", "height"):
        size = _get_typed(case, node, side)
        if size is not None and size.value % family.cell:
            yield _report_side(node, side, size, family)


def _report_frames(node: Node, frames: Value, family: Family) -> Finding:
    made = frames.value - (frames.value - 1) % family.frames
    message = f"{frames.value} frames are asked for; {family.id} makes {family.frames} n + 1: there will be {made}."
    changes = only(change_to(frames, made))
    return Finding("frames", DOUBTFUL, node.id, node.title, message, CORE, f"Set length to {made}.", changes)


def _report_side(node: Node, side: str, size: Value, family: Family) -> Finding:
    """Half a cell is padded inside the network; less than a latent is cut off."""
    cut = size.value % (family.cell // 2)
    near = max(round(size.value / family.cell), 1) * family.cell
    padded = f"the network pads it to the next multiple of {family.cell}"
    what = f"{size.value - cut} pixels remain of it" if cut else padded
    message = f"{side} is {size.value}, and {family.id} takes multiples of {family.cell}: {what}."
    severity, changes = DOUBTFUL if cut else NOTE, only(change_to(size, near))
    return Finding("sides", severity, node.id, node.title, message, CORE, f"Set {side} to {near}.", changes)


def _get_typed(case: Case, node: Node, name: str) -> Value | None:
    """Return a whole number above 0 that was typed in, or None."""
    found = case.survey.follow.value(node, name)
    is_size = isinstance(found, Value) and type(found.value) is int and found.value > 0
    return found if isinstance(found, Value) and is_size else None


def _check_text(case: Case, use: SamplerUse, family: Family) -> Iterator[Finding]:
    assert use.positive is not None
    for clip in case.survey.latents.clips(*use.positive):
        if clip.type is None or not family.text or clip.type == family.text:
            continue
        message = f"The text encoder is loaded as {clip.type!r}; {family.id} was trained with that of {family.text!r}."
        change = change_to(clip.value, family.text)
        yield Finding(
            "text-encoder", WRONG, clip.node.id, clip.node.title, message, CORE,
            f"Load the text encoder with type {family.text}.", only(change),
        )  # fmt: skip
