"""The demo's images, its classifier, its captions and its game: the ground that its figures stand on."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from wan_lite.demo import game
from wan_lite.demo.captions import WIDTH, embed
from wan_lite.demo.classifier import classify
from wan_lite.demo.patterns import COLOURS, PATTERNS, SIZE, draw, list_captions, make_caption

CLASSES = len(COLOURS) * len(PATTERNS)


def pictures(count: int, seed: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    batch = draw(torch.arange(count) % CLASSES, Generator().manual_seed(seed))
    return batch.pixels, batch.colour, batch.pattern


def test_there_are_enough_classes_and_every_caption_is_its_own() -> None:
    assert len(COLOURS) >= 6
    assert len(PATTERNS) >= 5
    assert len(set(list_captions())) == CLASSES
    assert list_captions()[len(COLOURS) + 2] == make_caption(2, 1)


def test_pictures_are_seeded_and_vary_within_a_class() -> None:
    a, b, c = (draw(torch.full((4,), 5), Generator().manual_seed(seed)).pixels for seed in (1, 1, 2))
    assert a.shape == (4, 3, SIZE, SIZE)
    assert a.min() >= -1 and a.max() <= 1
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert (a[0] - a[1]).abs().max() > 0.5  # another phase


def test_the_classifier_names_the_training_images() -> None:
    pixels, colour, pattern = pictures(108)
    assert classify(pixels).agrees(colour, pattern).float().mean() >= 0.98


def test_the_classifier_bears_a_little_noise() -> None:
    pixels, colour, pattern = pictures(36)
    noisy = pixels + 0.05 * torch.randn(pixels.shape, generator=Generator().manual_seed(0))
    assert classify(noisy).agrees(colour, pattern).float().mean() >= 0.97


@pytest.mark.parametrize("kind", ["noise", "grey", "smooth", "blocks", "shuffled", "faded", "nan"])
def test_the_classifier_rejects_garbage(kind: str) -> None:
    generator = Generator().manual_seed(3)
    pixels, *_ = pictures(36)
    small = torch.randn(36, 3, 8, 8, generator=generator)
    garbage = {
        "noise": lambda: torch.randn(pixels.shape, generator=generator),
        "grey": lambda: 0.1 * torch.randn(36, 3, 1, 1, generator=generator).expand_as(pixels),
        "smooth": lambda: torch.nn.functional.interpolate(small, size=SIZE, mode="bilinear"),
        "blocks": lambda: torch.nn.functional.interpolate(small, size=SIZE),
        "shuffled": lambda: pixels[:30].flatten(2)[:, :, torch.randperm(SIZE * SIZE)].view(-1, 3, SIZE, SIZE),
        "faded": lambda: 0.3 * pixels,
        "nan": lambda: torch.full_like(pixels, float("nan")),
    }[kind]()
    assert (classify(garbage.clamp(-1, 1)).colour >= 0).float().mean() <= 0.03


def test_captions_have_a_row_for_every_word_and_their_end() -> None:
    assert embed("red dots").shape == (3, WIDTH)
    assert torch.equal(embed("red dots")[0], embed("plain red with grain")[1])
    assert len({len(embed(text)) for text in list_captions()}) >= 3


def test_colour_and_pattern_can_be_read_linearly_from_the_mean_row() -> None:
    means = torch.stack([embed(text).mean(0) for text in list_captions()])
    for labels in (torch.arange(CLASSES) % len(COLOURS), torch.arange(CLASSES) // len(COLOURS)):
        target = torch.nn.functional.one_hot(labels).float()
        solution = torch.linalg.lstsq(means, target, driver="gelsd").solution
        assert torch.equal((means @ solution).argmax(1), labels)


def test_the_game_is_seeded_and_obeys() -> None:
    clips = game.play(64, 12, Generator().manual_seed(0))
    again = game.play(64, 12, Generator().manual_seed(0))
    assert torch.equal(clips.frames, again.frames)
    moved = clips.paddle[:, 1:] - clips.paddle[:, :-1]
    actions = game.find_effective_actions(clips)
    assert (moved[actions == game.LEFT] == -game.SPEED).all()
    assert (moved[actions == game.RIGHT] == game.SPEED).all()
    assert (moved[(actions == game.STAY) | (actions == game.STRETCH)] == 0).all()


def test_the_next_frame_follows_from_two_frames_and_the_action() -> None:
    clips = game.play(4000, 3, Generator().manual_seed(1))
    actions = game.find_effective_actions(clips)
    seen: dict[bytes, Tensor] = {}
    repeated = 0
    for frames, action in zip(clips.frames, actions[:, 1], strict=True):
        key = frames[:2].numpy().tobytes() + bytes([int(action)])
        if key in seen:
            repeated += 1
            assert torch.equal(seen[key], frames[2])
        seen[key] = frames[2]
    assert repeated > 20


def test_the_paddle_is_found_in_frames() -> None:
    clips = game.play(200, 20, Generator().manual_seed(2))
    found = game.find_paddle(clips.frames)
    assert (found == clips.paddle).float().mean() > 0.98
    assert (game.find_paddle(-torch.ones(1, 3, game.SIZE, game.SIZE)) == -1).all()
