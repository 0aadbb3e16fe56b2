"""Check the licences of what a user installs with this package: its requirements and extras, and theirs.

Each must be one under which the package may be used and passed on beside Apache-2.0; ``make check`` runs it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

OWN = "wan-lite"
EXTRAS = ("text", "video", "check", "world", "completion", "queue", "ray", "play")
"""Extras that users install; those for developers are not passed on."""
ALLOWED = re.compile(
    r"apache|\bmit\b|mit-cmu|bsd|\bisc\b|\bpsf|python software foundation|hpnd|mozilla|mpl|unlicense|zlib|0bsd|cc0"
    r"|public domain|boost|bsl",
    re.IGNORECASE,
)
REFUSED = re.compile(r"\bgpl|\bagpl|affero|gnu general public|sspl|commons clause|non-?commercial", re.IGNORECASE)
NOT_PASSED_ON = re.compile(r"^(nvidia-|cuda-|triton$)")
"""Parts of torch for graphics cards: vendors' own terms, chosen by torch and by the user's machine."""


def find_requirements(name: str, extras: tuple[str, ...] = ()) -> dict[str, Distribution]:
    """Return the installed packages that a package needs, by name, theirs included."""
    found: dict[str, Distribution] = {}
    waiting = [(name, extras)]
    while waiting:
        here, wanted = waiting.pop()
        for needed in _list_needed(here, wanted):
            key = needed.name.lower().replace("_", "-")
            if key in found or key == name:
                continue
            try:
                found[key] = distribution(needed.name)
            except PackageNotFoundError:  # for another system
                continue
            waiting.append((needed.name, tuple(needed.extras)))
    return found


def _list_needed(name: str, extras: tuple[str, ...]) -> Iterator[Requirement]:
    for text in distribution(name).requires or ():
        needed = Requirement(text)
        choices = [{"extra": extra} for extra in ("", *extras)]
        if needed.marker is None or any(needed.marker.evaluate(choice) for choice in choices):
            yield needed


def read_licence(package: Distribution) -> str:
    """Return what a package says of its licence: the expression, else the classifiers, else the first line of text."""
    stated = {key: str(package.metadata[key]) for key in ("License-Expression", "License") if key in package.metadata}
    if "License-Expression" in stated:
        return stated["License-Expression"]
    classifiers = [c for c in package.metadata.get_all("Classifier") or () if c.startswith("License :: OSI")]
    named = [classifier.rpartition(" :: ")[2] for classifier in classifiers]
    return "; ".join(named) or (stated.get("License", "").strip() or "not stated").splitlines()[0]


def judge(licence: str) -> bool:
    """Whether a licence is one of those that are allowed; of alternatives (``MIT OR GPL``) one is enough."""
    choices = re.split(r"\s+OR\s+", licence)
    return any(ALLOWED.search(choice) and not REFUSED.search(choice) for choice in choices)


def main() -> int:
    """Print the licences that are not allowed; 0 where there are none."""
    found = {name: read_licence(package) for name, package in find_requirements(OWN, EXTRAS).items()}
    bad = {name: said for name, said in found.items() if not judge(said) and not NOT_PASSED_ON.search(name)}
    for name, said in sorted(bad.items()):
        print(f"{name}: {said}")
    print(f"{len(found)} packages, {len(bad)} with a licence that is not allowed")
    return min(1, len(bad))


if __name__ == "__main__":
    sys.exit(main())
