"""Names of a package that are loaded when they are first used, so that importing the package stays cheap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

__all__ = ["attach"]


def attach(
    package: str, exports: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package that takes its names from its modules.

    Args:
        package: Its ``__name__``.
        exports: Each of its modules (or packages) with the names that it gives.
    """
    home = {name: module for module, names in exports.items() for name in names}
    loaded: dict[str, object] = {}

    def load(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if name not in loaded:
            loaded[name] = getattr(import_module(f".{home[name]}", package), name)
        return loaded[name]

    return load, lambda: sorted(home), sorted(home)
