"""Files that appear whole or not at all. Standard library only, so that every layer may use it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a file beside ``path`` to write to; it takes ``path``'s place in one move when the block ends.

    Where the block fails or is interrupted, what was at ``path`` stays as it was and nothing is left beside it. The
    folder is made where it is missing; a link is followed, so that the file itself is replaced. The name ends in
    ``.part``: where the program is killed, no list of models or images shows what it leaves.

    Raises:
        OSError: The folder cannot be made or written to, or the disk is full; it names ``path``.
    """
    target = Path(path).resolve()
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        target.parent.mkdir(parents=True, exist_ok=True)
        part.touch(exist_ok=False)
        yield part
        if target.exists():
            shutil.copymode(target, part)
        with part.open("rb+") as written:
            os.fsync(written.fileno())  # the move must not reach the disk before the content
        os.replace(part, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        if part.exists():
            part.unlink()
