"""Mutations of images, animations and videos: their declared sizes, their parts, and their bytes."""

from __future__ import annotations

import random
import struct
import zlib

from fuzz.bytes_mutations import mutate_bytes

_PNG = b"\x89PNG\r\n\x1a\n"
_SIDES = (0, 1, 2, 255, 4096, 4097, 13000, 65535, 2**31 - 1, 2**32 - 1)


def mutate_media(content: bytes, chance: random.Random) -> bytes:
    """Return a file near ``content``."""
    if content.startswith(_PNG) and chance.random() < 0.6:
        return _mutate_png(content, chance)
    if content.startswith(b"GIF8") and chance.random() < 0.4:
        return _mutate_gif(content, chance)
    return mutate_bytes(content, chance)


def _mutate_png(content: bytes, chance: random.Random) -> bytes:
    """Change chunks and give each its true checksum, so that the change is read and not the checksum."""
    chunks = _split_png(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(chunks))
        kind, data = chunks[at]
        action = chance.randrange(6)
        if action == 0 and len(chunks) > 1:
            del chunks[at]
        elif action == 1:
            chunks.insert(at, chunks[chance.randrange(len(chunks))])
        elif action == 2:
            chunks[0] = (b"IHDR", _make_header(chunks[0][1], chance))
        elif action == 3:
            chunks.insert(
                1, (chance.choice((b"tEXt", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"eXIf")), _make_text(chance))
            )
        else:
            chunks[at] = (kind, mutate_bytes(data, chance))
    return _PNG + b"".join(_make_chunk(kind, data) for kind, data in chunks)


def _make_header(header: bytes, chance: random.Random) -> bytes:
    sides = struct.pack(">II", chance.choice(_SIDES), chance.choice(_SIDES))
    return sides + header[8:] if chance.random() < 0.7 else header[:8] + bytes(chance.randrange(20) for _ in range(5))


def _make_text(chance: random.Random) -> bytes:
    bomb = zlib.compress(bytes(chance.choice((10, 10**6, 50 * 10**6))))
    return chance.choice((
        b"workflow\0{", b"prompt\0\0" + bomb, b"workflow\0\1\0\0\0" + bomb, b"prompt\0" + b"[" * 10**5,
        struct.pack(">II", 2**31 - 1, 0), b"\xff" * 26, b"",
    ))  # fmt: skip


def _split_png(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], len(_PNG)
    while at + 12 <= len(content):
        size = struct.unpack(">I", content[at : at + 4])[0]
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks


def _make_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _mutate_gif(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    blocks = [at for at in range(len(changed) - 10) if changed[at] == 0x2C] or [6]
    at = chance.choice([6, chance.choice(blocks) + 5])
    struct.pack_into("<HH", changed, at, *(min(chance.choice(_SIDES), 65535) for _ in range(2)))
    return bytes(changed)
