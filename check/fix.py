"""Mending a workflow file: the values of findings whose remedy is nothing but values, and not a byte besides."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath

from ..atomic import replacing
from .graph.files import Document
from .graph.graph import Path, WorkflowError
from .report import Change

__all__ = ["apply_changes", "mend_file"]

SPACE = " \t\r\n"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def mend_file(document: Document, changes: Iterable[Change], out: FilePath) -> None:
    """Write a copy of a workflow file with changed values, whole or not at all.

    A PNG stays a PNG where ``out`` ends so; from other images and from videos only the workflow is written, as JSON.

    Raises:
        WorkflowError: ``out`` has another ending than the file can be written with.
        OSError: It cannot be written.
    """
    text = apply_changes(document.text, changes)
    if document.key is None or out.suffix.lower() == ".json":
        content = text.encode("utf-8")
    elif document.path.suffix.lower() == ".png" == out.suffix.lower():
        content = b"".join(_replace_text(document.path.read_bytes(), document.key, text))
    else:
        kind = document.path.suffix.lower()
        raise WorkflowError(f"a {kind} file cannot be written with a changed workflow; give a name that ends in .json.")
    with replacing(out) as part:
        part.write_bytes(content)


def apply_changes(text: str, changes: Iterable[Change]) -> str:
    """Return JSON text with values replaced where they stand, and every other character as it was."""
    spans = sorted(((*find_span(text, change.path), change.value) for change in changes if change.path), reverse=True)
    for start, end, value in spans:
        text = text[:start] + json.dumps(value, ensure_ascii=False) + text[end:]
    return text


def find_span(text: str, path: Path) -> tuple[int, int]:
    """Return where the value that a path leads to starts and ends in JSON text."""
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    for key in path:
        at = _find_member(text, at, key, decoder) if isinstance(key, str) else _find_item(text, at, key, decoder)
    return at, decoder.raw_decode(text, at)[1]


def _find_member(text: str, at: int, wanted: str, decoder: json.JSONDecoder) -> int:
    """The last member of that name counts, as it does for a parser."""
    found, at = -1, _skip(text, at + 1)
    while text[at] == '"':
        name, at = decoder.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        found = at if name == wanted else found
        at = _skip(text, decoder.raw_decode(text, at)[1])
        at = _skip(text, at + 1) if text[at] == "," else at
    if found < 0:
        raise KeyError(wanted)
    return found


def _find_item(text: str, at: int, index: int, decoder: json.JSONDecoder) -> int:
    at = _skip(text, at + 1)
    for _ in range(index):
        at = _skip(text, _skip(text, decoder.raw_decode(text, at)[1]) + 1)
    return at


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in SPACE:
        at += 1
    return at


def _replace_text(content: bytes, key: str, text: str) -> Iterator[bytes]:
    """Yield a PNG with the text of one keyword replaced; all other chunks stay as they are."""
    yield PNG_SIGNATURE
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(content):
        (length,), kind = struct.unpack(">I", content[at : at + 4]), content[at + 4 : at + 8]
        body = content[at + 8 : at + 8 + length]
        if kind in (b"tEXt", b"zTXt", b"iTXt") and body.split(b"\0", 1)[0] == key.encode("latin-1"):
            yield _make_text_chunk(key, text)
        else:
            yield content[at : at + 12 + length]
        at += 12 + length


def _make_text_chunk(key: str, text: str) -> bytes:
    """A tEXt chunk where Latin-1 holds the text, else an uncompressed iTXt chunk."""
    try:
        kind, body = b"tEXt", key.encode("latin-1") + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        kind, body = b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8")
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
