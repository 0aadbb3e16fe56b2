"""Where sampled images go: a file, numbered files of a folder, or names made from a pattern; and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ..printable import make_file_name
from .arguments import check_folder, check_sheet_name

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

__all__ = ["Sheet", "Targets"]

FIELDS = ("caption", "number", "seed", "steps", "student")
_EXAMPLE = ("", 0, 0, 0, "")
_OTHER_IMAGES = (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


@dataclass(frozen=True)
class Targets:
    """The files to write, none of which is written over but the one that was named itself.

    Attributes:
        out: A folder, a file name ending in ``.png``, or a pattern of those such as ``out/{caption}_{seed}.png``.
        stem: Beginning of the numbered names in a folder.

    Raises:
        ValueError: Another kind of image is asked for, or the pattern has an unknown field.
    """

    out: str
    stem: str

    def __post_init__(self) -> None:
        if Path(self.out).suffix.lower() in _OTHER_IMAGES:
            raise ValueError(
                f"--out is {self.out!r}, but images are written as PNG, which carries their contract; give a name "
                "ending in .png, or a folder."
            )
        try:
            self.out.format(**{name: value for name, value in zip(FIELDS, _EXAMPLE, strict=True)})
        except (ValueError, LookupError, AttributeError) as error:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise ValueError(f"--out is {self.out!r}, which is not a pattern ({error}); known are {known}.") from error

    @property
    def is_pattern(self) -> bool:
        """Whether each image's name is made from what it is."""
        return "{" in self.out

    def check(self) -> None:
        """Check that the folder can be written to, before the work and not after it.

        Raises:
            OSError: It cannot be made or written to.
        """
        folder = Path(self.out.split("{")[0] if self.is_pattern else self.out)
        is_file = (self.is_pattern and not self.out.split("{")[0].endswith("/")) or folder.suffix.lower() == ".png"
        check_folder(folder.parent if is_file else folder)

    def choose(self, about: Mapping[str, object], images: int) -> Path:
        """Return the file for an image.

        Args:
            about: What the fields of a pattern stand for.
            images: How many are written in all: a single one goes where ``out`` says.
        """
        if self.is_pattern:
            named = Path(self.out.format(**{name: _clean_part(about[name]) for name in FIELDS}))
            path = named if named.suffix.lower() == ".png" else named.with_name(f"{named.name}.png")
            return path if not path.exists() else next(_list_numbered(path.parent, path.stem))
        out = Path(self.out)
        if out.suffix.lower() != ".png":
            return next(_list_numbered(out, self.stem))
        return out if images == 1 else next(_list_numbered(out.parent, out.stem))


def _list_numbered(folder: Path, stem: str) -> Iterator[Path]:
    numbered = (folder / f"{stem}_{number:05}.png" for number in count(1))
    return (path for path in numbered if not path.exists())


def _clean_part(value: object) -> object:
    return make_file_name(value) if isinstance(value, str) else value


@dataclass
class Sheet:
    """A contact sheet that grows with the images; it keeps them in the size that it shows them in.

    Attributes:
        path: The file to write, or None for no sheet.
        columns: Images in a row; 0 makes the sheet about square.
        cell: Longer side of an image on it, in pixels.
    """

    path: Path | None
    columns: int = 0
    cell: int = 256
    images: list[tuple[str, Image.Image]] = field(default_factory=list)

    def check(self) -> None:
        """Check, before the work, that the sheet can be written.

        Raises:
            ValueError: Its ending is not that of an image.
            OSError: Its folder cannot be written to.
        """
        if self.path is not None:
            check_sheet_name(self.path)
            check_folder(self.path.parent)

    def add(self, label: str, image: Tensor) -> None:
        """Take in an image (H, W, 3) in [0, 1]."""
        from ..pipeline.pictures.layout import make_thumbnail

        if self.path is not None:
            self.images.append((label, make_thumbnail(image, self.cell)))

    def write(self) -> Path | None:
        """Write the sheet and return its file, where there is something to write."""
        from ..pipeline.pictures.convert import save_image
        from ..pipeline.pictures.layout import draw_image_grid

        if self.path is None or not self.images:
            return None
        save_image(draw_image_grid(self.images, columns=self.columns, cell=self.cell), self.path)
        return self.path
