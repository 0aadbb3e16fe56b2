"""The actions of a rollout: given as a list, chosen by a rule, or inferred from a video."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Generator, Tensor

from .networks.latent_actions import require_action_model
from .world import World

__all__ = ["ActionPolicy", "Actions", "choose_action", "infer_actions", "list_explicit_actions", "parse_actions"]

ActionPolicy = Literal["random", "repeat", "diversity"]
Actions = ActionPolicy | Sequence[int] | Sequence[Sequence[int]] | Tensor | None

_RECENT = 5
_MOST_ACTIONS = 100_000


def choose_action(
    policy: ActionPolicy, history: Sequence[int], n_actions: int, generator: Generator, action_diversity: float = 0.1
) -> int:
    """Choose the next action by a rule.

    ``random``: any. ``repeat``: the last one again (any, when there is none). ``diversity``: with probability
    ``action_diversity`` one of the least used of the last five, else any; any while fewer than two were chosen.

    Args:
        policy: The rule.
        history: The actions chosen so far.
        n_actions: How many the world has.
        generator: Its only source of random numbers.
        action_diversity: A probability, for the rule of that name.

    Source:
        parity: TinyWorlds 6a44975 ``sample_action_with_diversity``, its order of random numbers included
        (tests/vectors/tinyworlds/legacy/diversity_cases.json).
    """
    if policy == "repeat" and history:
        return history[-1]
    if policy == "diversity" and len(history) >= 2 and torch.rand(1, generator=generator).item() < action_diversity:
        counts = torch.bincount(torch.tensor(history[-_RECENT:]), minlength=n_actions)
        least_used = (counts == counts.min()).nonzero().flatten()
        return int(least_used[torch.randint(0, len(least_used), (1,), generator=generator)])
    return int(torch.randint(0, n_actions, (1,), generator=generator))


def infer_actions(world: World, frames: Tensor) -> Tensor:
    """Return the actions that the latent action model infers between neighbouring frames of a video.

    Args:
        world: With a latent action model.
        frames: Of its size, at least two.

    Shapes:
        frames (b, t, 3, S, S) in [-1, 1], t >= 2 -> (b, t - 1) int64.

    Raises:
        ValueError: The world was opened without a latent action model, or there is only one frame.
    """
    model = require_action_model(world.latent_actions)
    with torch.no_grad():
        return model.infer(frames.to(world.device, world.dtype))


def parse_actions(text: str, names: Sequence[str] = ()) -> ActionPolicy | list[int] | None:
    """Read actions as people write them: a rule's name, ``none``, or ids such as ``0, 3, 3, 1`` or ``0 3x2 1``.

    Where the world's actions have names, these may be written as well: ``left x3, stay``.

    Args:
        text: What was written.
        names: Of the world's actions, in the order of their ids.

    Raises:
        ValueError: A word is not an id, a name or a rule; or there are more than 100000 ids.
    """
    word = text.strip().lower()
    if word in get_args(ActionPolicy):
        return word  # type: ignore[return-value]
    if word in ("", "none"):
        return None
    actions: list[int] = []
    ids = {name.lower(): number for number, name in enumerate(names)}
    joined = re.sub(r"(?<=[\w-])\s+(?=x\d+\b)", "", word.strip(" ,;[]"))  # left x3 -> leftx3
    for part in re.split(r"[\s,;]+", joined):
        match = re.fullmatch(r"(\d+)(?:x(\d+))?", part) or _match_name(part, ids)
        if match is None:
            known = f" names ({', '.join(names)})," if names else ""
            raise ValueError(
                f"actions: {part!r} is not an action; write ids such as '0, 3, 3x4',{known} "
                f"or one of {', '.join(get_args(ActionPolicy))}, none."
            )
        count = int(match[2] or 1)
        if len(actions) + count > _MOST_ACTIONS:
            raise ValueError(f"actions: {part!r} makes more than {_MOST_ACTIONS}; the last action is repeated anyway.")
        actions += [ids[match[1]] if match[1] in ids else int(match[1])] * count
    return actions


def _match_name(part: str, ids: Mapping[str, int]) -> re.Match[str] | None:
    """Match one of the names, with a count or without; a name may end as a count does."""
    choices = "|".join(map(re.escape, sorted(ids, key=len, reverse=True)))
    return re.fullmatch(rf"({choices})(?:x(\d+))?", part) if ids else None


def list_explicit_actions(actions: Actions, n_actions: int) -> list[list[int]] | None:
    """Return explicit actions as lists, one for all rollouts of a batch or one for each; None for a rule or no actions.

    Raises:
        ValueError: An unknown rule, an empty list, or an id that the world does not have.
    """
    if actions is None:
        return None
    if isinstance(actions, str):
        if actions not in get_args(ActionPolicy):
            raise ValueError(
                f"actions: {actions!r} is not a rule; use one of {', '.join(get_args(ActionPolicy))}, a list, or None."
            )
        return None
    listed: list[Any] = actions.tolist() if isinstance(actions, Tensor) else list(actions)
    rows = [list(row) for row in listed] if listed and isinstance(listed[0], Sequence | Tensor) else [listed]
    rows = [[int(action) for action in row] for row in rows]
    if not all(rows):
        raise ValueError("actions: the list is empty; give at least one id, the last is repeated when it is too short.")
    for action in (action for row in rows for action in row):
        if not 0 <= action < n_actions:
            raise ValueError(f"actions: {action} is not an action of this world; ids run from 0 to {n_actions - 1}.")
    return rows
