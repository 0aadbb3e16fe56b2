"""Open sessions by their keys, and the answers to a page's calls; which server carries them is decided elsewhere."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

from einops import rearrange
from torch import Tensor

from ...models.world import RolloutConfig, SessionRecord, World, WorldSession
from ...models.world.play.record import read_settings
from ..pictures.convert import to_uint8, to_unit

__all__ = ["CALLS", "PLAYABLE", "Stage", "UnknownSession", "WorldSessions", "encode_confidence", "encode_frame"]

PLAYABLE = ("temperature", "maskgit_steps", "feedback", "top_k", "top_p", "action_guidance")
"""Settings that a player may change."""

MOST_SESSIONS = 8
IDLE_SECONDS = 45.0
"""A session that nobody called for so long is freed; pages call every 10 seconds."""

_SWEEP_SECONDS = 10.0

_MOST_STEPS = 100_000
_MOST_PASSES = 64


@dataclass(frozen=True)
class Stage:
    """Where sessions are played.

    Attributes:
        acquire: Returns the world, ready to run; what it raises refuses the call.
        context: Frames (1, t, 3, S, S) in [-1, 1] to start from.
        config: The settings to begin with.
        limit: Returns what a call's work is done in, such as a number of threads.
    """

    acquire: Callable[[], World]
    context: Tensor
    config: RolloutConfig
    limit: Callable[[], AbstractContextManager[object]] = nullcontext


class UnknownSession(ValueError):
    """There is no such session, or no more."""


@dataclass
class _Entry:
    stage: Stage
    session: WorldSession
    used: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class WorldSessions:
    """Sessions in play. Each has a key that cannot be guessed; those left alone are freed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._entries, self._lock = clock, dict[str, _Entry](), threading.Lock()
        self._is_sweeping = False

    def __len__(self) -> int:
        return len(self._entries)

    def open(self, stage: Stage, message: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a session, or continue the one of a ``record``, and answer with all that a page needs.

        A session that begins has the message's ``seed`` and ``settings``, a record its own.

        Raises:
            ValueError: The message is not allowed, or too many sessions are open.
        """
        self.free_idle()
        if len(self._entries) >= MOST_SESSIONS:
            raise ValueError(f"{MOST_SESSIONS} sessions are open, which is the most; close the page of one.")
        world, record = stage.acquire(), message.get("record")
        played = SessionRecord.from_json(record) if isinstance(record, str) and record.strip() else None
        config = _read_playable(stage.config, message.get("settings", {}))
        with stage.limit():
            session = _begin(world, stage, config, played, _read_number(message, "seed", 0, 2**64 - 1))
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._entries[key] = _Entry(stage, session, self._clock())
        if not self._is_sweeping:
            self._sweep()
        return {
            "session": key,
            "world": world.describe(),
            "size": world.frame_size,
            "actions": _name_actions(world),
            "settings": {name: asdict(session.config)[name] for name in PLAYABLE},
            **_look_back(session, {}),
        }

    def answer(self, call: str, message: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one call of a page.

        Args:
            call: One of :data:`CALLS`.
            message: Its content, with the key of a ``session``.

        Raises:
            UnknownSession: The key is not one of an open session.
            ValueError: The message is not allowed; the session has not changed.
        """
        entry = self._find(message.get("session"))
        if call == "ping":  # answered at once, also while a long call has the session
            return _ping(entry.session, message)
        with entry.lock, entry.stage.limit():
            if call in _RUNNING:
                entry.session.world = entry.stage.acquire()
            answer = _CALLS[call](entry.session, message)
        entry.used = self._clock()
        return answer

    def close(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """End a session; one that is gone already is as good."""
        with self._lock:
            self._entries.pop(str(message.get("session")), None)
        return {}

    def read_frames(self, message: Mapping[str, Any]) -> Tensor:
        """Return all frames of a session with the last of the context first, (1, t, 3, S, S)."""
        entry = self._find(message.get("session"))
        with entry.lock, entry.stage.limit():
            entry.session.world = entry.stage.acquire()
            return entry.session.frames()

    def free_idle(self) -> None:
        """Free the sessions that nobody has called for a while."""
        oldest = self._clock() - IDLE_SECONDS
        with self._lock:
            for key in [key for key, entry in self._entries.items() if entry.used < oldest and not entry.lock.locked()]:
                del self._entries[key]

    def _sweep(self) -> None:
        """Free idle sessions as long as there are any, also when nobody calls any more."""
        self.free_idle()
        self._is_sweeping = bool(self._entries)
        if self._is_sweeping:
            timer = threading.Timer(_SWEEP_SECONDS, self._sweep)
            timer.daemon = True
            timer.start()

    def _find(self, key: object) -> _Entry:
        self.free_idle()
        entry = self._entries.get(key) if isinstance(key, str) else None
        if entry is None:
            raise UnknownSession("session: it is not open any more; play again, its actions are in the page.")
        entry.used = self._clock()
        return entry


def encode_frame(frame: Tensor) -> str:
    """Return a frame (3, S, S) in [-1, 1] as base64 of its RGB bytes, row by row."""
    pixels = rearrange(to_uint8(to_unit(frame.clamp(-1, 1)), "round"), "c h w -> h w c")
    return base64.b64encode(pixels.contiguous().numpy().tobytes()).decode("ascii")


def encode_confidence(confidence: Tensor) -> str:
    """Return probabilities (rows, columns) as base64 of a byte each, row by row; 255 for 1."""
    return base64.b64encode(to_uint8(confidence, "round").contiguous().numpy().tobytes()).decode("ascii")


def _begin(world: World, stage: Stage, config: RolloutConfig, played: SessionRecord | None, seed: int) -> WorldSession:
    if played is None:
        return WorldSession(world, stage.context, config, seed)
    if len(played.actions) != 1:
        raise ValueError(f"session: holds {len(played.actions)} sessions side by side; a page plays one.")
    for _, config in played.settings:
        _check_passes(config)
    session = WorldSession(world, stage.context, played.settings[0][1], played.seed)
    return session.play_record(played)


def _check_passes(config: RolloutConfig) -> None:
    """Refuse settings with which a frame would take too long for a page."""
    if config.maskgit_steps > _MOST_PASSES:
        raise ValueError(f"maskgit_steps: {config.maskgit_steps} given; a page plays with {_MOST_PASSES} at most.")


def _name_actions(world: World) -> list[str]:
    names = tuple(getattr(world, "action_names", ()))
    return list(names) or [str(action) for action in range(world.n_actions)]


def _describe(session: WorldSession) -> dict[str, Any]:
    return {"step": session.steps, "frame": encode_frame(session.frame[0])}


def _step(session: WorldSession, message: Mapping[str, Any]) -> dict[str, Any]:
    action = _read_number(message, "action", 0, session.world.n_actions - 1)
    if session.steps >= _MOST_STEPS:
        raise ValueError(f"session: {_MOST_STEPS} frames were played, which is the most; reset it.")
    started = time.perf_counter()
    session.step(action)
    answer = {**_describe(session), "milliseconds": round(1000 * (time.perf_counter() - started), 2)}
    if message.get("confidence") is True and session.confidence is not None:
        answer["confidence"] = encode_confidence(session.confidence[0])
    return answer


def _undo(session: WorldSession, message: Mapping[str, Any]) -> dict[str, Any]:
    session.undo(min(session.steps, _read_number(message, "count", 1, _MOST_STEPS, 1)))
    return _look_back(session, message)


def _reset(session: WorldSession, message: Mapping[str, Any]) -> dict[str, Any]:
    session.reset()
    return _look_back(session, message)


def _configure(session: WorldSession, message: Mapping[str, Any]) -> dict[str, Any]:
    config = _read_playable(session.config, message.get("settings"))
    session.configure(**{name: getattr(config, name) for name in PLAYABLE})
    settings = {name: asdict(session.config)[name] for name in PLAYABLE}
    return {"settings": settings, **_record(session, message)}


def _record(session: WorldSession, message: Mapping[str, Any]) -> dict[str, Any]:
    return {"record": session.record().to_json(), "step": session.steps}


def _look_back(session: WorldSession, message: Mapping[str, Any]) -> dict[str, Any]:
    return {**_describe(session), **_record(session, message)}


def _ping(session: WorldSession, message: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": session.steps}


_CALLS: dict[str, Callable[[WorldSession, Mapping[str, Any]], dict[str, Any]]] = {
    "step": _step,
    "undo": _undo,
    "reset": _reset,
    "configure": _configure,
    "record": _record,
    "ping": _ping,
}
_RUNNING = ("step", "undo", "configure")
CALLS = tuple(_CALLS)
"""What a page may ask of an open session."""


def _read_playable(config: RolloutConfig, settings: Any) -> RolloutConfig:
    """Return a configuration with the settings that a page gave.

    Raises:
        ValueError: They are not allowed.
    """
    if not isinstance(settings, dict) or not settings.keys() <= set(PLAYABLE):
        raise ValueError(f"settings: give an object with any of {', '.join(PLAYABLE)}.")
    config = read_settings(config, settings)
    _check_passes(config)
    return config


def _read_number(message: Mapping[str, Any], name: str, least: int, most: int, default: int = 0) -> int:
    value = message.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name}: {repr(value)[:40]} given; give a whole number from {least} to {most}.")
    return value
