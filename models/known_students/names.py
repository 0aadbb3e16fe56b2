"""What the name of a file or folder says: which pattern it fits, and which of two experts it is."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

__all__ = ["NameRule", "expert_role", "find_swapped_experts", "name_parts", "normal_name"]

LEVELS_UP = 3
"""How many folders above a file may tell what its name does not."""

_EXTENSIONS = (".safetensors", ".sft", ".gguf", ".pth", ".pt", ".ckpt", ".bin")


@dataclass(frozen=True)
class NameRule:
    """What a file's name, its folder's name, or both must contain; without a name, the name must say nothing."""

    name: re.Pattern[str] | None
    folder: re.Pattern[str] | None = None

    def weigh_name(self, stem: str, folders: Sequence[str]) -> int:
        """Return how much this rule says of a telling name: 0 where it does not fit, 2 where its folder fits too."""
        if self.folder is None:
            return int(_is_match(self.name, stem))
        return 2 if _is_match(self.name, stem) and any(map(self.folder.search, folders)) else 0

    def weigh_folder(self, stem: str, folder: str) -> int:
        """Return how much this rule says of a folder with a file whose name says nothing; 0 where it does not fit."""
        if self.folder is None:
            return int(_is_match(self.name, folder))
        own = 1 if self.name is None else 2 * _is_match(self.name, stem)
        return own if self.folder.search(folder) else 0


def _is_match(pattern: re.Pattern[str] | None, text: str) -> bool:
    return pattern is not None and pattern.search(text) is not None


def normal_name(name: str) -> str:
    """Return a name as the rules see it: without the extension of weights, lower case, ``_`` between words."""
    stem = next((name[: -len(end)] for end in _EXTENSIONS if name.lower().endswith(end)), name)
    return re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")


def expert_role(path: str | os.PathLike[str]) -> str | None:
    """Return "high" or "low" where a file's name, or else its folders', names that expert; None where none does."""
    parts = map(normal_name, reversed(name_parts(path)[-LEVELS_UP - 1 :]))
    named = (set(re.findall(r"(?:^|_)(high|low)(?=_|$)", part)) for part in parts)
    return next((roles.pop() for roles in named if len(roles) == 1), None)


def find_swapped_experts(high: str | os.PathLike[str], low: str | os.PathLike[str]) -> str | None:
    """Return a sentence where the names of two files say that each is in the other's place; None where they do not."""
    roles = expert_role(high), expert_role(low)
    if roles[0] != "low" and roles[1] != "high":
        return None
    names = name_parts(high)[-1], name_parts(low)[-1]
    return (
        f"The high-noise expert is {names[0]} ({roles[0] or 'nothing'} by its name) and the low-noise expert is "
        f"{names[1]} ({roles[1] or 'nothing'} by its name); exchange them."
    )


def name_parts(path: str | os.PathLike[str]) -> list[str]:
    """Return the names on a path, of either system's form, the file's own last."""
    parts = PurePosixPath(os.fspath(path).replace("\\", "/")).parts
    return [part for part in parts if part != "/"] or [""]
