"""What a world's actions are called: learned ids have no meaning of their own, so a person writes their names down."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..checkpoint import CheckpointError
from ..metadata import read_metadata, rewrite_metadata

__all__ = ["ACTION_NAMES_KEY", "check_action_names", "name_action", "parse_action_names", "write_action_names"]

ACTION_NAMES_KEY = "wan_lite.action_names"
"""Header key of a world's single file: a JSON list, a name for each id."""

NAME = r"[^\W\d][\w-]*"
_RESERVED = ("random", "repeat", "diversity", "none", "infer")


def check_action_names(names: Sequence[str], n_actions: int) -> tuple[str, ...]:
    """Return the names, one for each id.

    Args:
        names: In the order of the ids.
        n_actions: How many the world has.

    Raises:
        ValueError: There are too few or too many, two are the same, or one cannot be told from a number or a rule.
    """
    if len(names) != n_actions:
        raise ValueError(f"action names: {len(names)} given, but the world has {n_actions} actions; name each.")
    for name in names:
        if not re.fullmatch(NAME, name) or name.lower() in _RESERVED:
            raise ValueError(
                f"action names: {name!r} cannot be one; begin with a letter, use letters, digits, _ and -, and none of "
                f"{', '.join(_RESERVED)}."
            )
    if len({name.lower() for name in names}) != len(names):
        raise ValueError(f"action names: {', '.join(names)} has the same name twice; give each action its own.")
    return tuple(names)


def parse_action_names(text: str | None, n_actions: int) -> tuple[str, ...]:
    """Return the names in a header entry; none where there is no entry.

    Args:
        text: The entry.
        n_actions: How many the world has.

    Raises:
        ValueError: The entry is not a list of as many names.
    """
    if text is None:
        return ()
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{ACTION_NAMES_KEY} is not a JSON list of names; write them again with `wan-lite stamp`.")
    return check_action_names(names, n_actions)


def name_action(action: int, names: Sequence[str]) -> str:
    """Return an action's name, or its id where the world has no names."""
    return names[action] if action < len(names) else str(action)


def write_action_names(path: str | os.PathLike[str], names: Sequence[str], n_actions: int) -> None:
    """Write the names into the header of a world's single file; the tensors' bytes stay as they are.

    Args:
        path: Of the file.
        names: In the order of the ids.
        n_actions: How many the world has.

    Raises:
        CheckpointError: The file is not safetensors, or damaged.
        ValueError: The names cannot be these.
    """
    checked = check_action_names(names, n_actions)
    path = Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        raise CheckpointError(
            f"{path.name}: is not a .safetensors file; `wan-lite convert --layout world` makes one of checkpoints."
        )
    read_metadata(path)
    rewrite_metadata(path, {ACTION_NAMES_KEY: json.dumps(checked, ensure_ascii=False)})
