"""Mutations of bytes that know nothing of a format."""

from __future__ import annotations

import random
import struct

NUMBERS = [struct.pack(kind, number) for kind in ("<H", "<I", "<Q", ">H", ">I") for number in (0, 1, 0x7F, 0xFF)]
NUMBERS += [b"\xff\xff", b"\xff\xff\xff\xff", b"\xff" * 8, b"\xff\xff\xff\x7f", b"\0" * 8, b"PK\x01\x02", b"\x80\x02"]


def mutate_bytes(content: bytes, chance: random.Random) -> bytes:
    """Return ``content`` cut, or with bytes changed, put in, taken out or moved, mostly near an end of the file."""
    if chance.random() < 0.1:
        return content[: chance.choice((0, 1, 7, 8, 9, 100, len(content) // 2, max(0, len(content) - 1)))]
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 40))):
        if not changed:
            break
        span = min(len(changed), chance.choice((64, 400, 5000, len(changed))))
        at = chance.randrange(span) if chance.random() < 0.7 else len(changed) - 1 - chance.randrange(span)
        action = chance.random()
        if action < 0.5:
            changed[at] = chance.randrange(256)
        elif action < 0.7:
            number = chance.choice(NUMBERS)
            changed[at : at + len(number)] = number
        elif action < 0.8:
            changed[at:at] = bytes(chance.randrange(256) for _ in range(chance.choice((1, 4, 100))))
        elif action < 0.9:
            del changed[at : at + chance.choice((1, 4, 100))]
        else:
            other = chance.randrange(len(changed))
            changed[at : at + 16] = changed[other : other + 16]
    return bytes(changed)
