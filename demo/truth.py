"""What a played session truly does: its actions, played by the game's own code from the same start.

    python -m wan_lite.demo.truth session.json true.webp
    wan-lite diagnose --session session.json --clip true.webp --out out/drift

The second command draws how far the session drifted from the game. The session is one that began with two frames of
the demo's clip, as ``wan-lite play`` writes it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from ..file_parts import split_name
from ..models.world import SessionRecord
from ..pipeline.pictures.convert import to_unit
from ..pipeline.videos.reading import Excerpt, open_video, read_frames
from ..pipeline.videos.writing import write_video
from .game import ACTIONS, BALL, BALL_COLOUR, SIZE, Game, find_paddle

__all__ = ["main", "play_truth", "read_game"]

_CLIP = Path(__file__).parent / "models" / "world_models" / "wan-lite-demo" / "world_clip.safetensors"
_NEAR = 0.1  # squared distance to the ball's colour


def read_game(before: Tensor, after: Tensor) -> Game:
    """Read the state of a game from two frames (3, 32, 32) in [-1, 1] that follow each other.

    Every direction of the ball and every action is tried from the first frame; the second says which they were.
    """
    tries = torch.cartesian_prod(torch.tensor([-1, 1]), torch.tensor([-1, 1]), torch.arange(len(ACTIONS)))
    dx, dy, action = tries.unbind(1)
    x, y = _find_ball(before)
    left = find_paddle(before).expand(len(tries))
    game = Game(
        torch.full_like(dx, x),
        torch.full_like(dx, y),
        dx.clone(),
        dy.clone(),
        left.clone(),
        torch.zeros(len(dx)).bool(),
    )
    game.lose_ball(torch.full((len(tries),), y < 0))
    game.advance(action)
    best = (game.draw() - after).square().mean((1, 2, 3)).argmin()
    return game[best : best + 1]


def _find_ball(frame: Tensor) -> tuple[int, int]:
    """Return left and top of the ball; above the frame where there is none."""
    colour = torch.tensor(BALL_COLOUR).view(3, 1, 1)
    rows, columns = ((to_unit(frame) - colour).square().sum(0) < _NEAR).nonzero(as_tuple=True)
    if not len(rows):
        return SIZE // 2 - BALL, -1
    return int(columns.min()), int(rows.min())


def play_truth(context: Tensor, actions: Tensor) -> Tensor:
    """Return a context (t, 3, 32, 32) of two or more true frames, followed by what the actions (n,) truly do."""
    game = read_game(context[-2], context[-1])
    frames = [context]
    for action in actions:
        game.advance(action.view(1))
        frames.append(game.draw())
    return torch.cat(frames)


def main() -> None:
    """Write the true video of a session."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("session", type=Path, help="a session of the demo world")
    parser.add_argument("out", type=Path, help="the video to write, such as true.webp")
    options = parser.parse_args()
    text = options.session.read_text("utf-8")
    record, source = SessionRecord.from_json(text), json.loads(text).get("source") or {}
    window = record.settings[0][1].context_window
    if window < 2:
        parser.error("the session began with one frame; the game is read from two, with a context_window of 2 or more.")
    path, number = split_name(source.get("clip") or str(_CLIP))
    try:
        video = open_video(Path(path), None if number is None else int(number))
        excerpt = Excerpt(source.get("start", 0), source.get("every", 1), window)
        context = read_frames(video, excerpt, lambda frames: frames)
    except (OSError, ValueError) as error:
        parser.error(f"the session's video cannot be read: {error}")
    frames = play_truth(context, torch.tensor(record.actions[0]))
    write_video(to_unit(rearrange(frames, "t c h w -> t h w c")), options.out, fps=8)


if __name__ == "__main__":
    main()
