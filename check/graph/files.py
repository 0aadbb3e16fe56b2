"""Workflow files: JSON, or JSON that an image or a video carries in its metadata."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from .graph import NoWorkflowError, WorkflowError

__all__ = ["SUFFIXES", "Document", "read_document"]

IMAGES = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG", ".avif": "AVIF"}
VIDEOS = (".mp4", ".webm", ".mkv", ".mov", ".flac", ".mp3", ".opus", ".ogg")
SUFFIXES = (".json", *IMAGES, *VIDEOS)
"""Endings of files that can be or carry a workflow."""

KEYS = ("workflow", "prompt")
"""Names under which files carry the page's own format and the API format; the first one found is read."""

LARGEST = 64 << 20  # bytes of a JSON text
TAGS_OF_EXIF = (0x010E, 0x010F, 0x0110, 0x9286)


@dataclass(frozen=True)
class Document:
    """A workflow as it was found: ``key`` names the metadata that held it, None for a file of JSON."""

    path: FilePath
    text: str
    content: Mapping[str, Any]
    key: str | None = None


def read_document(path: FilePath) -> Document:
    """Return the workflow that a file is or carries.

    Raises:
        WorkflowError: It is none, carries none, or is damaged.
        OSError: It cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in (*IMAGES, *VIDEOS):
        if not path.is_file():  # a device or a pipe would never end
            if path.exists():
                raise WorkflowError("it is not a file; name a workflow.")
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if path.stat().st_size > LARGEST:
            raise WorkflowError(f"it has more than {LARGEST >> 20} MiB, which no workflow has; name another file.")
        return Document(path, text := _decode(path.read_bytes()), _parse(text))
    texts = dict(_read_image_texts(path, IMAGES[suffix]) if suffix in IMAGES else _read_video_texts(path))
    for key in KEYS:
        if key in texts:
            return Document(path, texts[key], _parse(texts[key]), key)
    raise NoWorkflowError("it carries no workflow; save it again with metadata, or name the workflow's own file.")


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WorkflowError(f"it is not text in UTF-8 ({error.reason} at byte {error.start}).") from None


def _parse(text: str) -> Mapping[str, Any]:
    if len(text) > LARGEST:
        raise WorkflowError(f"its workflow has more than {LARGEST >> 20} MiB, which no workflow has.")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WorkflowError(f"it is not JSON ({str(error)[:80]}).") from None
    if not isinstance(content, Mapping):
        raise NoWorkflowError(f"it is JSON, but a {type(content).__name__} and not a workflow.")
    return content


def _read_image_texts(path: FilePath, kind: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of an image's text chunks, and of the Exif entries "name:text" that WEBP files have."""
    from PIL import Image

    try:
        with Image.open(path, formats=[kind]) as image:
            entries = dict(image.info)
            exif = image.getexif()
            tags = [exif[tag] for tag in TAGS_OF_EXIF if tag in exif]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, KeyError, Image.DecompressionBombError) as error:
        raise WorkflowError(f"it is not a readable {kind} image ({str(error)[:80]}).") from None
    yield from ((key, text) for key in KEYS if isinstance(text := entries.get(key), str))
    yield from (found for tag in tags if isinstance(tag, str) and (found := _split_tag(tag))[0] in KEYS)


def _split_tag(tag: str) -> tuple[str, str]:
    """Split an Exif entry "name:text"."""
    name, _, text = tag.partition(":")
    return name.lower(), text


def _read_video_texts(path: FilePath) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of a container's metadata, and of a "comment" that is JSON with both."""
    try:
        import av
    except ImportError:
        raise WorkflowError("reading videos needs PyAV; install it with `pip install wan-lite[video]`.") from None
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    entries = _read_metadata(path, av)
    if not any(key in entries for key in KEYS):
        entries |= _parse_comment(entries.get("comment", ""))
    yield from ((key, entries[key]) for key in KEYS if key in entries)


def _read_metadata(path: FilePath, av: Any) -> dict[str, str]:
    try:
        with av.open(str(path)) as container:
            return {str(key).lower(): str(text) for key, text in container.metadata.items()}
    except (OSError, ValueError) as error:
        raise WorkflowError(f"it is not a readable video ({str(error)[:80]}).") from None


def _parse_comment(comment: str) -> dict[str, str]:
    """The workflows in a comment, where this is JSON that holds them."""
    inner = _parse(comment) if comment.startswith("{") else {}
    found = {key: inner[key] for key in KEYS if inner.get(key)}
    return {key: text if isinstance(text, str) else json.dumps(text) for key, text in found.items()}
