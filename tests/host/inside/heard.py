"""What the host's log says while something is done."""

from __future__ import annotations

import logging


class Heard(logging.Handler):
    """The messages that were logged while it was open.

    Args:
        level: The least one that counts.
    """

    def __init__(self, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> Heard:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
