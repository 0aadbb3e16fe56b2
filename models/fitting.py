"""Filling a network from tensors: all of them, each of the right shape and kind, or one sentence that says why not."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from .checkpoint import CheckpointError
from .finite import is_finite
from .model_kind import identify_model

__all__ = ["check_fit", "load_into"]

_ALIGNMENT = 64  # bytes, of memory that torch gives on a CPU


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str, what: str) -> None:
    """Fill a module strictly from tensors; a file that does not fit is one sentence.

    A module on the meta device takes the tensors over, with their dtype; any other gets copies in its own.

    Args:
        module: To fill.
        tensors: By the names of its state dict.
        source: The file's name, for the message.
        what: The kind of model expected, for the message.

    Raises:
        CheckpointError: Names are missing or left over, a shape or a kind of number differs, or a weight is NaN or
            infinite.
    """
    check_fit(module, tensors, source=source, what=what)
    for key, tensor in tensors.items():
        if not is_finite(tensor):
            raise CheckpointError(
                f"{source}: {key} holds NaN or infinite values; the training run that wrote it diverged. "
                "Use an earlier checkpoint."
            )
    on_meta = any(parameter.is_meta for parameter in module.parameters())
    if on_meta:
        # Matrix products of one row differ in the last digit between weights that lie anywhere in a larger memory and
        # weights that own theirs, as a host's do.
        tensors = {key: tensor if _owns_memory(tensor) else tensor.clone() for key, tensor in tensors.items()}
    module.load_state_dict(tensors, strict=True, assign=on_meta)


def _owns_memory(tensor: Tensor) -> bool:
    is_whole = tensor.untyped_storage().nbytes() == tensor.nbytes
    return is_whole and tensor.is_contiguous() and tensor.data_ptr() % _ALIGNMENT == 0


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str, what: str) -> None:
    """Check that ``tensors`` are exactly those of ``module``, by name, shape and kind.

    Args:
        module: On any device, also meta.
        tensors: By the names of its state dict.
        source: The file's name, for the message.
        what: The kind of model expected, for the message.

    Raises:
        CheckpointError: Names are missing or left over, or a shape or a kind of number differs.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in tensors]
    unexpected = [key for key in tensors if key not in expected]
    if missing or unexpected:
        kind = identify_model(tensors)
        guess = f" It looks like {kind.value}." if kind else ""
        raise CheckpointError(
            f"{source}: is not {what}: {len(missing)} tensors missing{_list_some(missing)}, "
            f"{len(unexpected)} unexpected{_list_some(unexpected)}.{guess} Choose a file of {what}."
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
                f"{source}: {key} is {_name_dtype(tensor)} where {what} has {_name_dtype(value)}; "
                "use the weights as training saved them."
            )


def _name_dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _list_some(keys: list[str], most: int = 5) -> str:
    if not keys:
        return ""
    return f" ({', '.join(keys[:most])}{', ...' if len(keys) > most else ''})"
