"""Worlds played step by step, and the record of what was played."""

from .record import SessionRecord, replay
from .session import WorldSession

__all__ = ["SessionRecord", "WorldSession", "replay"]
