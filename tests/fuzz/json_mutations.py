"""Mutations of JSON values: anything anywhere, and text that is no longer JSON."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

VALUES: list[Any] = [
    None, True, -1, 0, 1, 2, 3, 7, 1e400, float("nan"), 10**30, 2**63, -(2**63), 2**31, 0.5, -0.5, 1e-12, 1e308,
    "", "x" * 5000, "\x1b[2J\n\x07\u202e", "\ud800", "../../x", "nan", "4", "ddim", [], {}, [[]], [1, 2], ["7", 0],
    [1.0, 0.5, 0.0], {"__value__": [1]}, {"version": 2}, [None] * 300, list(range(300)),
]  # fmt: skip
DEPTHS = (200, 5000, 100_000)
MOST_PLACES = 20_000  # of a document that is still changed: parts copied into parts grow without end
MOST_PLACES_TO_NEST = 300


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    found, waiting = [], [value]
    while waiting:
        here = waiting.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else []
        for key in keys:
            found.append((here, key))
            waiting.append(here[key])
    return found


def mutate_value(document: Any, chance: random.Random) -> Any:
    """Return a copy in which some values are gone, moved or replaced by odd ones."""
    document = copy.deepcopy(document)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        if not 0 < len(found := places(document)) < MOST_PLACES:
            break
        container, key = chance.choice(found)
        action = chance.random()
        if action < 0.03 and isinstance(document, dict) and len(found) < MOST_PLACES_TO_NEST:
            document = _nest(document, key, chance)
        elif action < 0.25 and isinstance(container, dict):
            del container[key]
        elif action < 0.45:
            other, name = chance.choice(places(document))
            container[key] = copy.deepcopy(other[name])
        elif action < 0.55 and isinstance(container, dict):
            container[_odd_key(str(key), chance)] = container.pop(key)
        elif action < 0.7 and type(container[key]) in (int, float):
            container[key] = _near(container[key], chance)
        else:
            container[key] = copy.deepcopy(chance.choice(VALUES))
    return document


def mutate_text(text: str, chance: random.Random) -> str:
    """Return the text of a mutated JSON value; of ten, one is cut, broken, doubled or nested too deep."""
    if chance.random() < 0.9:
        try:
            return json.dumps(mutate_value(json.loads(text), chance), ensure_ascii=chance.random() < 0.5)
        except (ValueError, RecursionError):
            pass
    at = chance.randrange(len(text) + 1)
    return chance.choice((
        text[:at],
        text[:at] + chance.choice('{}[]",:x\x00\ufeff') + text[at + 1 :],
        "[" * chance.choice(DEPTHS),
        '{"a":' * chance.choice(DEPTHS),
        text + text,
        "9" * 5000,
        "",
    ))  # fmt: skip


def to_bytes(text: str) -> bytes:
    """Return a text as a file may hold it, lone surrogates too."""
    return text.encode("utf-8", "surrogatepass")


def _nest(document: dict[str, Any], key: Any, chance: random.Random) -> dict[str, Any]:
    """Put a document into itself, under one of its keys, again and again."""
    nested = document
    for _ in range(chance.choice((1, 2, 50, 320))):
        nested = {**copy.deepcopy(document), str(key): chance.choice((nested, [nested]))}
    return nested


def _odd_key(key: str, chance: random.Random) -> str:
    return chance.choice((key + "x", key[:-1], key.upper(), "", "\x1b[31m" + key, key * 200, "__metadata__"))


def _near(number: float, chance: random.Random) -> float:
    return chance.choice((number + 1, number - 1, number * 2, -number, number * 10**9, 0))
