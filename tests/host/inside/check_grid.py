"""Images and labels on one page."""

import torch

from harness import raises, run


def page(**given):
    (image,) = run("WanLiteGrid", **given)
    assert image.ndim == 4 and image.shape[0] == 1 and image.shape[3] == 3
    return image[0]


def check_one_batch_makes_an_about_square_page():
    images = torch.stack([torch.full((8, 8, 3), value / 4) for value in range(4)])
    sheet = page(images=images, cell=32)
    assert sheet.shape == page(images=images, cell=32, columns=2).shape
    colours = {round(float(value), 2) for value in sheet[..., 0].unique()}
    assert {0.0, 0.25, 0.5, 0.75, 1.0} <= {round(colour * 4) / 4 for colour in colours}
    assert page(images=images, cell=32, columns=4).shape[1] > sheet.shape[1]


def check_labels_and_title_take_their_own_room():
    images = torch.zeros(2, 8, 8, 3)
    plain = page(images=images, cell=64, columns=2)
    labelled = page(images=images, cell=64, columns=2, labels="seed 1\nseed 2", title="Two")
    assert labelled.shape[0] > plain.shape[0] and labelled.shape[1] == plain.shape[1]
    message = raises(ValueError, page, images=images, labels="a\nb\nc")
    assert "3 lines" in message and "2 images" in message, message


def check_rows_of_other_lengths_and_sizes():
    three, one = torch.zeros(3, 8, 8, 3), torch.full((1, 16, 16, 4), 0.5)
    sheet = page(images=one, images_3=three, cell=32)
    alone = page(images=three, cell=32, columns=3)
    assert sheet.shape[1] == alone.shape[1] and sheet.shape[0] > 1.5 * alone.shape[0]
    below = sheet[sheet.shape[0] // 2 :]
    assert not (below == 0.5).any(), "the first row's image stands in the first row"
    top = sheet[: sheet.shape[0] // 2, sheet.shape[1] // 2 :]
    assert (top == 1).all(), "what a short row lacks is paper"
