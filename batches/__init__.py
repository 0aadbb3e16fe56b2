"""Many runs from a file of rows: on ComfyUI servers, in this process or on a Ray cluster; and pages to look at them.

The names below are loaded when they are first used: reading rows does not import what sampling needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_exports import attach

if TYPE_CHECKING:  # for type checkers alone, which cannot read the table
    from .manifest import *  # noqa: F403
    from .rows import *  # noqa: F403
    from .validation import *  # noqa: F403

_EXPORTS = {
    "manifest": ("Manifest", "Record"),
    "rows": ("Row", "RowFile", "RowsError"),
    "validation": ("TensorBoardLogger", "Validation", "WandbLogger", "validate"),
}
"""Each module with the names that it gives to the public surface."""

__getattr__, __dir__, __all__ = attach(__name__, _EXPORTS)  # the table above is the one list of names
