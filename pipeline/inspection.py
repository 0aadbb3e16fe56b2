"""What a file or folder is: its kind and facts as lines of text, for ``wan-lite inspect``."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..models.checkpoint import WEIGHT_NAMES, CheckpointError, TensorFile
from ..models.contract_files import read_contract
from ..models.finite import is_finite
from ..models.metadata import read_metadata
from ..models.model_kind import ModelKind, identify_model
from ..models.student.loading import CONFIG_KEY, PROJECTION_NAME, StudentCheckpoint, read_student
from ..models.student.student import VAES
from ..models.text_embeds import CAPTIONS_KEY, read_text_embeds
from ..models.text_files import read_text
from ..models.wan_vae.config import WanVAEConfig
from ..models.wan_vae.loading import VAEFile
from ..models.world import find_runs, load_world
from ..models.world.formats import STAGES
from ..models.world.loading import identify_network
from ..models.world.world import WORLD_CONFIG_KEY
from ..printable import make_line
from ..samplers.contract import CHANGES_KEY, CONTRACT_KEY, SamplingContract
from ..samplers.formatting import format_contract

__all__ = ["Description", "inspect"]

STUDENT, VAE = ModelKind.STUDENT.value, ModelKind.WAN_VAE.value
EMBEDS, WORLD = "text embeddings", "a world model"
UNKNOWN = "tensors of an unknown kind"
_MOST_LINES = 100
_NOTES = ("caption", "seed", "student")  # what the command line writes into its images, beside the contract
Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class Description:
    """A path's kind, and what there is to know about it as (label, value) pairs; as text, safe to print."""

    kind: str
    facts: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        shown = [(make_line(label), make_line(value)) for label, value in self.facts[:_MOST_LINES]]
        width = max(len(label) for label, _ in shown)
        lines = [self.kind, *(f"  {label:<{width}}  {value}" for label, value in shown)]
        more = len(self.facts) - len(shown)
        return "\n".join([*lines, f"  ... and {more} more"] if more else lines)


def inspect(path: str | os.PathLike[str]) -> Description:
    """Say what a file is: kind, sizes, parameters, latent and true image size, sampling contract.

    Args:
        path: Of the file or folder.

    Raises:
        CheckpointError: There is nothing there, the file is damaged, or no known kind of model is in it.
    """
    path = Path(path)
    if path.is_dir():
        return _inspect_folder(path)
    if path.suffix.lower() == ".png" and path.is_file():
        return Description("an image", tuple(_list_image(path)))
    kind = _find_kind(path)
    by_kind = {STUDENT: _list_student, VAE: _list_vae, EMBEDS: _list_embeds, WORLD: _list_world}
    return Description(kind, tuple(by_kind.get(kind, _list_tensors)(path)))


def _find_kind(path: Path) -> str:
    header = read_metadata(path) if path.suffix == ".safetensors" else {}
    if CONFIG_KEY in header or (path.name in WEIGHT_NAMES and _is_student_config(path.parent / "config.json")):
        return STUDENT
    if WORLD_CONFIG_KEY in header:
        return WORLD
    names = _read_names(path)
    network = identify_network(names)
    if network is not None:
        return f"one network of {WORLD}: {STAGES[network[0]]} ({network[1].world.title})"
    if CAPTIONS_KEY in header or set(names) == {"text"} or "text.0" in names:
        return EMBEDS
    kind = identify_model(names)
    # Weights without their sizes can be named, but not loaded.
    return (
        f"{STUDENT}'s weights, without their config.json"
        if kind is ModelKind.STUDENT
        else kind.value
        if kind
        else UNKNOWN
    )


def _inspect_folder(path: Path) -> Description:
    config = path / "config.json"
    if _is_student_config(config):
        return Description(STUDENT, tuple(_list_student(path)))
    if (
        any(name in _read_text(config) for name in ("AutoencoderKLWan", "AutoencoderKLQwenImage"))
        or (path / "vae" / "config.json").is_file()
    ):
        return Description(VAE, tuple(_list_vae(path)))
    if {"tokenizer", "dynamics"} <= {stage for run in find_runs(path) for stage in run.checkpoints}:
        return Description(WORLD, tuple(_list_world(path)))
    weights = sorted(file for file in path.rglob("*") if file.suffix in (".safetensors", ".pth", ".pt", ".bin"))
    if not weights:
        raise CheckpointError(f"{path}: holds no weights; name a folder or file of a student, a VAE or a world model.")
    kinds = tuple((str(file.relative_to(path)), _name_kind(file)) for file in weights)
    return Description(f"a folder of {len(weights)} files with weights", kinds)


def _name_kind(file: Path) -> str:
    try:
        return _find_kind(file)
    except Exception as error:  # one file, however damaged, does not hide the others
        return f"cannot be read ({error})"


def _list_student(path: Path) -> Facts:
    checkpoint = read_student(path)
    config = checkpoint.config
    channels = checkpoint.vae_channels
    side = config.latent_size * VAES[channels].spatial_factor
    projection = f"to {channels} channels, once after sampling ({PROJECTION_NAME})" if checkpoint.projection else "none"
    size = f"{side}x{side} pixels"
    if side != config.image_size:
        size += f" (image_size {config.image_size} in the config is not the image's size)"
    return [
        ("source", checkpoint.source),
        ("network", f"width {config.hidden_size}, {config.depth} blocks, {config.num_heads} heads"),
        ("parameters", _count_parameters(checkpoint.tensors.values())),
        ("weights", _check_numbers(checkpoint)),
        ("text", f"embeddings of width {config.text_encoder_output_dim}, averaged over the prompt's own tokens"),
        ("latent", f"{config.num_channels} channels, {config.latent_size}x{config.latent_size}"),
        ("image", size),
        ("output projection", projection),
        ("contract", _describe_contract(checkpoint.contract)),
    ]


def _list_vae(path: Path) -> Facts:
    file = VAEFile(path)
    config = file.config
    return [
        ("source", file.path.name),
        ("variant", f"{config.variant} ({file.layout} layout)"),
        ("what it is", file.member.name),
        ("told by", file.member.told_by),
        ("width", f"encoder {config.dim}, decoder {config.dec_dim}"),
        ("parameters", f"{sum(torch.Size(shape).numel() for shape in file.shapes.values()) / 1e6:.2f} million"),
        ("latent", f"{config.z_dim} channels, one cell for {config.spatial_factor}x{config.spatial_factor} pixels"),
        ("image", _describe_image(config)),
        (
            "videos",
            "none: its decoder makes larger images only"
            if config.upscale > 1
            else f"4 n + 1 frames, {config.temporal_factor} frames a latent frame after the first",
        ),
    ]


def _describe_image(config: WanVAEConfig) -> str:
    names = {3: "red, green, blue", 4: "red, green, blue, alpha"}
    channels = names.get(config.out_channels, f"{config.out_channels} channels")
    return channels + (f"; decoded at {config.upscale} times the size" if config.upscale > 1 else "")


def _list_embeds(path: Path) -> Facts:
    texts, captions = read_text_embeds(path)
    facts = [("prompts", str(len(texts))), ("embedding width", str(texts[0].shape[1]))]
    facts += [
        (str(index), f"{len(rows)} tokens  {caption}".rstrip())
        for index, (rows, caption) in enumerate(zip(texts, captions, strict=True))
    ]
    return facts


def _list_world(path: Path) -> Facts:
    world = load_world(path)
    run = find_runs(path)[-1] if path.is_dir() else None
    sources = {"file": path} if run is None else run.checkpoints
    actions = f"{world.n_actions}, ids 0 to {world.n_actions - 1}" if world.n_actions else "none"
    if world.action_names:
        actions = ", ".join(f"{number} {name}" for number, name in enumerate(world.action_names))
    return [
        *([] if run is None else [("run", f"{run.folder.name}, {run.time}")]),
        *(
            (name.replace("_", " "), str(file.relative_to(path) if path.is_dir() else file.name))
            for name, file in sources.items()
        ),
        ("format", world.title),
        ("frames", f"{world.frame_size}x{world.frame_size} pixels"),
        ("actions", actions),
        ("parameters", _count_parameters(world.parameters())),
    ]


def _list_image(path: Path) -> Facts:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            size = image.size
            texts = {key: _parse_note(text) for key, text in image.info.items() if isinstance(text, str)}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CheckpointError(f"{path.name}: is not a readable PNG ({error}); copy or save it again.") from error
    texts = {key: value for key, value in texts.items() if value is not None}
    facts = [("size", f"{size[0]}x{size[1]} pixels"), ("carries", ", ".join(sorted(texts)) or "nothing")]
    facts += [(name, str(texts[f"wan_lite.{name}"])) for name in _NOTES if f"wan_lite.{name}" in texts]
    contracts = {json.dumps(item) for entry in _find_entries(texts, CONTRACT_KEY) for item in _find_contracts(entry)}
    facts += [
        ("contract", format_contract(SamplingContract.from_json(text, origin=path.name))) for text in sorted(contracts)
    ]
    return facts + [("changed", line) for line in sorted(_list_changes(texts))]


def _find_entries(texts: Mapping[str, object], key: str) -> list[object]:
    """Return what an image holds under a key: in a text of its own, and in the nodes of its graph."""
    prompt = texts.get("prompt")
    nodes = prompt.values() if isinstance(prompt, dict) else ()
    notes = [node.get("_meta") for node in nodes if isinstance(node, dict)]
    return [texts.get(key), *(note.get(key) for note in notes if isinstance(note, dict))]


def _list_changes(texts: Mapping[str, object]) -> set[str]:
    """Return a line for each field in which an image's run differed from the checkpoint's contract."""
    return {
        f"{name} {change['used']} instead of {change['contract']}"
        for entry in _find_entries(texts, CHANGES_KEY)
        if isinstance(entry, dict)
        for fields in (entry, *entry.values())
        if isinstance(fields, dict)
        for name, change in fields.items()
        if isinstance(change, dict) and {"contract", "used"} <= change.keys()
    }


def _parse_note(text: str) -> object:
    """Return what a PNG's text holds as JSON, or None where it is not a mapping, list, string or number."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list | str | int) else None


def _find_contracts(entry: object) -> list[object]:
    """Return the contracts in one entry: itself, or one for each node that sampled."""
    if not isinstance(entry, dict):
        return []
    return [entry] if "solver" in entry else list(entry.values())


def _list_tensors(path: Path) -> Facts:
    tensors = TensorFile(path).specs
    names = sorted(tensors)
    contract = read_contract(path)
    facts = [
        ("source", path.name),
        ("size", f"{path.stat().st_size / 1e6:.1f} MB"),
        ("tensors", f"{len(names)}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"),
        ("parameters", _count_parameters(tensors.values())),
    ]
    return [*facts, ("contract", _describe_contract(contract))] if contract else facts


def _describe_contract(contract: SamplingContract | None) -> str:
    if contract is None:
        return "none: nothing in the checkpoint says how to sample it (`wan-lite stamp` writes one, `probe` finds one)"
    return format_contract(contract)


def _check_numbers(checkpoint: StudentCheckpoint) -> str:
    bad = [name for name, value in checkpoint.tensors.items() if not is_finite(value)]
    return f"NaN or infinite numbers in {len(bad)} tensors, first {bad[0]}" if bad else "all finite"


def _count_parameters(tensors: Iterable[Tensor]) -> str:
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    return f"{sum(counts.values()) / 1e6:.2f} million ({', '.join(counts)})"


def _read_names(path: Path) -> list[str]:
    return list(TensorFile(path).specs)


def _is_student_config(path: Path) -> bool:
    try:
        table = json.loads(_read_text(path))
    except (ValueError, RecursionError):
        return False
    return isinstance(table, Mapping) and "text_encoder_output_dim" in table and "num_channels" in table


def _read_text(path: Path) -> str:
    """Return a configuration's text, empty where there is none that can be read."""
    try:
        return read_text(path)
    except CheckpointError:
        return ""
