"""Mutations of safetensors files: of the header's JSON, of tensors with the header kept true, and of bytes."""

from __future__ import annotations

import json
import math
import random
import struct
from typing import Any

from fuzz.bytes_mutations import mutate_bytes
from fuzz.json_mutations import mutate_text, mutate_value, to_bytes

METADATA = "__metadata__"
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
         "U8": 1, "BOOL": 1, "C64": 8, "U64": 8, "F8_E8M0": 1}  # fmt: skip
SIDES = (0, 1, 2, 3, 4, 5, 7, 16, 48, 10**6, 10**8, 2**31, 2**40, 2**63 - 1, 2**63)
PATTERNS = (b"\0", b"\xff", struct.pack("<f", 3e38), struct.pack("<f", math.inf), struct.pack("<f", math.nan), b"\x01")
_MOST_BYTES = 4_000_000  # of one tensor that a mutation makes

Tensors = dict[str, tuple[str, list[int], bytes]]


def mutate_safetensors(content: bytes, chance: random.Random) -> bytes:
    """Return a file near ``content``."""
    action = chance.random()
    if action < 0.15:
        return mutate_bytes(content, chance)
    header, data = parse(content)
    if action < 0.4:
        return build_raw(mutate_text(json.dumps(header), chance), data)
    metadata, tensors = split(header, data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        _change_tensors(tensors, chance)
    if action > 0.8:
        metadata = _change_metadata(metadata, chance)
    return build(metadata, tensors)


def parse(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and what follows it."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def split(header: dict[str, Any], data: bytes) -> tuple[dict[str, str], Tensors]:
    """Return metadata, and dtype, shape and bytes of each tensor."""
    tensors = {}
    for name, spec in header.items():
        if name != METADATA:
            begin, end = spec["data_offsets"]
            tensors[name] = (spec["dtype"], list(spec["shape"]), data[begin:end])
    return dict(header.get(METADATA, {})), tensors


def build(metadata: dict[str, str], tensors: Tensors) -> bytes:
    """Return a file whose header is true to its tensors."""
    header: dict[str, Any] = {METADATA: metadata} if metadata else {}
    at = 0
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(content)]}
        at += len(content)
    return build_raw(json.dumps(header), b"".join(content for _, _, content in tensors.values()))


def build_raw(text: str, data: bytes) -> bytes:
    """Return a file with this text as its header."""
    header = to_bytes(text)
    return len(header).to_bytes(8, "little") + header + data


def _change_tensors(tensors: Tensors, chance: random.Random) -> None:
    if not tensors:
        return
    name = chance.choice(list(tensors))
    dtype, shape, content = tensors[name]
    action = chance.randrange(8)
    if action == 0:
        del tensors[name]
    elif action == 1:
        tensors[_rename(name, chance)] = tensors.pop(name)
    elif action == 2:
        tensors[_rename(name, chance)] = tensors[name]
    elif action == 3:
        tensors[name] = (dtype, shape, _fill(len(content), chance))
    elif action == 4:
        tensors[name] = tensors[chance.choice(list(tensors))]
    elif action == 5:
        other = chance.choice(list(SIZES))
        tensors[name] = (other, shape, _fit(content, math.prod(shape) * SIZES[other]))
    else:
        tensors[name] = _reshape(dtype, shape, content, chance)


def _reshape(dtype: str, shape: list[int], content: bytes, chance: random.Random) -> tuple[str, list[int], bytes]:
    wanted = list(shape)
    for _ in range(chance.choice((1, 1, 2, 3))):
        action = chance.randrange(5)
        if action == 0 and wanted:
            del wanted[chance.randrange(len(wanted))]
        elif action == 1:
            wanted.insert(chance.randrange(len(wanted) + 1), chance.choice(SIDES))
        elif wanted:
            at = chance.randrange(len(wanted))
            wanted[at] = chance.choice((*SIDES, wanted[at] + 1, max(0, wanted[at] - 1), wanted[at] * 2))
    if chance.random() < 0.03:
        wanted = [1] * 70
    size = math.prod(wanted) * SIZES.get(dtype, 4)
    if size > _MOST_BYTES:  # a true header needs the bytes, or a side of 0
        wanted[chance.randrange(len(wanted))] = 0
        size = 0
    return dtype, wanted, _fit(content, size)


def _rename(name: str, chance: random.Random) -> str:
    parts = name.split(".")
    at = chance.randrange(len(parts))
    if parts[at].isdigit() or chance.random() < 0.3:
        odd = ("0", "1", "2", "9", "999999999999", "-1", "x", "\u0663", "", str(chance.randrange(200)))
        parts[at] = chance.choice(odd)
        return ".".join(parts)
    return chance.choice((
        f"module.{name}", f"_orig_mod.{name}", f"diffusion_model.{name}", f"{name}.weight", name.upper(),
        name.replace("weight", "bias"), name.replace("upsamplers.0", "resnets.2"), f"\x1b[31m{name}", name * 50, "text",
        "text.0", "", "\ud800" if chance.random() < 0.1 else "a\nb",
    ))  # fmt: skip


def _change_metadata(metadata: dict[str, str], chance: random.Random) -> dict[str, str]:
    keys = [key for key, value in metadata.items() if str(value).startswith(("{", "["))]
    if keys and chance.random() < 0.8:
        key = chance.choice(keys)
        return {**metadata, key: mutate_text(str(metadata[key]), chance)}
    changed = mutate_value(metadata, chance)
    return changed if isinstance(changed, dict) else {}


def _fill(size: int, chance: random.Random) -> bytes:
    return _fit(chance.choice(PATTERNS) * (size + 1), size)


def _fit(content: bytes, size: int) -> bytes:
    return (content + bytes(max(0, size - len(content))))[:size]
