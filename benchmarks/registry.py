"""Every case, in the order of the table."""

from __future__ import annotations

from .bench import Case
from .cases import batches, counts, images, memory, scaling, solvers, startup, students, videos, worlds

__all__ = ["CASES", "choose_cases"]

CASES: dict[str, Case] = {
    case.name: case
    for module in (images, videos, students, solvers, worlds, counts, scaling, startup, memory, batches)
    for case in module.CASES
}


def choose_cases(wanted: list[str]) -> list[Case]:
    """Return the cases whose names begin with one of the words, all where there is none.

    Raises:
        ValueError: A word begins the name of none.
    """
    for word in wanted:
        if not any(name.startswith(word) for name in CASES):
            raise ValueError(f"there is no case {word}; there are {', '.join(CASES)}.")
    return [case for name, case in CASES.items() if not wanted or name.startswith(tuple(wanted))]
