"""What becomes of the sentences of a check, as the user's ``on_mismatch`` says. Standard library only."""

from __future__ import annotations

import logging
from collections.abc import Iterable

__all__ = ["ON_MISMATCH", "ContractMismatch", "check_on_mismatch", "raise_or_warn"]

log = logging.getLogger(__name__)

ON_MISMATCH = ("error", "warn", "ignore")
"""Raise, log, or drop them."""


class ContractMismatch(ValueError):
    """A sampling that is not what the checkpoint's contract says; each difference is one line of the message."""


def check_on_mismatch(on_mismatch: str) -> None:
    """Raise ValueError where ``on_mismatch`` is not one of ``ON_MISMATCH``."""
    if on_mismatch not in ON_MISMATCH:
        raise ValueError(f"on_mismatch is {on_mismatch!r}; allowed: {', '.join(ON_MISMATCH)}.")


def raise_or_warn(problems: Iterable[str | None], on_mismatch: str = "error", *, way_out: str = "") -> None:
    """Raise (``error``), log (``warn``) or drop (``ignore``) the sentences that are not None.

    Args:
        problems: The sentences of the checks.
        on_mismatch: One of ``ON_MISMATCH``.
        way_out: Added to an error.

    Raises:
        ContractMismatch: With every sentence on its own line.
        ValueError: ``on_mismatch`` is none of the three.
    """
    check_on_mismatch(on_mismatch)
    found = [problem for problem in problems if problem]
    if not found or on_mismatch == "ignore":
        return
    if on_mismatch == "error":
        raise ContractMismatch("\n".join(found) + way_out)
    for problem in found:
        log.warning("Wan Lite: %s", problem)
