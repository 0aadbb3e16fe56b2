"""Reading weights from disk without ever running code that a file carries, and writing them whole or not at all.

Everything that opens a checkpoint in this package goes through :func:`read_tensors` and fills a module through
:func:`load_into`, so that a wrong file is one sentence naming the file, what was found, what was expected and
what to do, whatever kind of model was asked for.
"""

from __future__ import annotations

import errno
import os
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..atomic import replacing

__all__ = [
    "CheckpointError",
    "check_fit",
    "describe_foreign",
    "load_into",
    "read_metadata",
    "read_pickle",
    "read_tensors",
    "write_tensors",
]

_WRAPPERS = ("_orig_mod", "module")


class CheckpointError(ValueError):
    """A file that cannot be used, said in one sentence: which file, what it holds, what was expected, what to do."""


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the string table in the header of a ``.safetensors`` file (empty when it has none).

    Raises:
        CheckpointError: the file is missing, truncated or of another kind.
    """
    with _open_safetensors(Path(path)) as file:
        return dict(file.metadata() or {})


def read_tensors(path: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Return all tensors of a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file by name.

    Pickled files are read with ``weights_only=True``; a training checkpoint that keeps its weights under
    ``model``, ``state_dict`` or ``model_state_dict`` is unwrapped. What ``torch.compile`` and DDP add to names is
    removed.

    Raises:
        CheckpointError: the file is missing, truncated, of another kind, or holds anything but tensors.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        with _open_safetensors(path, str(device)) as file:
            return {strip_prefixes(key): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    content = read_pickle(path, device=device)
    for wrapper in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(
            f"{path.name}: holds {type(content).__name__}, not a table of named tensors; give a model checkpoint."
        )
    return {strip_prefixes(str(key)): value for key, value in content.items()}


def read_pickle(
    path: str | os.PathLike[str], *, stand_ins: Iterable[tuple[type, str]] = (), device: str | torch.device = "cpu"
) -> object:
    """Return the content of a pickled checkpoint, with nothing unpickled but tensors and plain containers.

    Args:
        stand_ins: pairs of an inert class and the dotted name in the file that it stands for.

    Raises:
        CheckpointError: the file is missing, damaged, or asks for a class that is not allowed.
    """
    path = _existing_file(Path(path))
    try:
        with torch.serialization.safe_globals(list(stand_ins)), warnings.catch_warnings():
            # torch remarks on protocols that it may not read; whether it could is said below
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        found = f"asks for {asked[1]}" if asked else "is damaged, or holds more than tensors and plain values"
        raise CheckpointError(
            f"{path.name}: refused, nothing in it was run: it {found}; save the weights as safetensors and load that."
        ) from error
    except Exception as error:  # a damaged stream makes torch's reader fail in any way: IndexError, AssertionError, ...
        raise CheckpointError(
            f"{path.name}: cannot be read as a PyTorch checkpoint ({_first_line(error)}); "
            "it is damaged, incomplete or of another kind. Copy or download it again."
        ) from error


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a ``.safetensors`` file with ``metadata`` as the string table of its header, whole or not at all.

    Raises:
        OSError: the folder cannot be written to or the disk is full.
    """
    kept = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with replacing(path) as part:
        try:
            save_file(kept, part, metadata=dict(metadata))
        except SafetensorError as error:
            raise OSError(errno.EIO, _first_line(error)) from error


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str, what: str) -> None:
    """Fill ``module`` strictly from ``tensors``; a file that does not fit is one sentence.

    A module on the meta device takes over copies of the tensors, with their dtype; any other gets a copy in its own.

    Args:
        source: the file's name, for the message. what: the kind of model expected, for the message.

    Raises:
        CheckpointError: names are missing or left over, a shape or a kind of number differs, or a weight is NaN or
            infinite.
    """
    check_fit(module, tensors, source=source, what=what)
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise CheckpointError(
                f"{source}: {key} holds NaN or infinite numbers; the training run that wrote it diverged. "
                "Use an earlier checkpoint."
            )
    on_meta = any(parameter.is_meta for parameter in module.parameters())
    if on_meta:
        # A tensor read from a file lies where the file has it, mostly not aligned, and matrix products of one row then
        # differ in the last digit from those of a module that owns its memory (the host's): give it memory of its own.
        tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    module.load_state_dict(tensors, strict=True, assign=on_meta)


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str, what: str) -> None:
    """Check that ``tensors`` are exactly those of ``module`` (on any device, also meta), by name, shape and kind.

    Args:
        source, what: as for :func:`load_into`.

    Raises:
        CheckpointError: names are missing or left over, or a shape or a kind of number differs.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in tensors]
    unexpected = [key for key in tensors if key not in expected]
    if missing or unexpected:
        foreign = describe_foreign(tensors)
        guess = f" It looks like {foreign}." if foreign else ""
        raise CheckpointError(
            f"{source}: is not {what}: {len(missing)} tensors missing{_some(missing)}, "
            f"{len(unexpected)} unexpected{_some(unexpected)}.{guess} Choose a file of {what}."
        )
    for key, value in expected.items():
        tensor = tensors[key]
        if tensor.shape != value.shape:
            raise CheckpointError(
                f"{source}: {key} has shape {list(tensor.shape)}, but {what} of this size needs "
                f"{list(value.shape)}; the file and its configuration do not belong together."
            )
        if tensor.is_floating_point() != value.is_floating_point() or tensor.is_complex():
            raise CheckpointError(
                f"{source}: {key} holds {_dtype(tensor)} numbers where {what} has {_dtype(value)}; "
                "use the weights as training saved them."
            )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def strip_prefixes(key: str) -> str:
    """Remove the parts that ``torch.compile`` and data-parallel wrappers leave anywhere in a name."""
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


_MARKERS = (
    (("lora_", "lora.", ".lokr", ".hada_"), "a LoRA"),
    (("patch_embedding.", "blocks.0.cross_attn", "head.modulation"), "the Wan video model (DiT)"),
    (("double_blocks.", "single_blocks."), "a Flux model"),
    (("encoder.down.0.block", "decoder.up.0.block"), "a VAE of Stable Diffusion or Flux"),
    (("decoder.middle.0.residual", "decoder.mid_block.resnets"), "a Wan VAE"),
    (("blocks.0.attn.in_proj_weight",), "a distilled Wan student"),
    (("quantizer.basis", "vq.bins", "mask_token"), "a TinyWorlds checkpoint"),
    (("shared.weight", "encoder.block.0", "token_embedding.weight"), "a text encoder"),
    (("model.diffusion_model.",), "a complete Stable Diffusion checkpoint"),
)


def describe_foreign(tensors: Iterable[str]) -> str | None:
    """Say in a few words what kind of model these tensor names belong to, or None when they are not known."""
    keys = list(tensors)
    for fragments, name in _MARKERS:
        if any(fragment in key for key in keys for fragment in fragments):
            return name
    return None


def _open_safetensors(path: Path, device: str = "cpu") -> Any:
    path = _existing_file(path)
    try:
        return safe_open(path, framework="pt", device=device)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.name}: is not a complete safetensors file ({_first_line(error)}); copy or download it again."
        ) from error


def _existing_file(path: Path) -> Path:
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, but a single file of weights was expected; name the file in it.")
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; check the name and the folder.")
    return path


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def _some(keys: list[str], most: int = 5) -> str:
    if not keys:
        return ""
    return f" ({', '.join(keys[:most])}{', ...' if len(keys) > most else ''})"
