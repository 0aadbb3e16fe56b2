"""``wan-lite sheet``: sheets and a page from what ``queue`` or ``batch`` made."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import check_folder, check_sheet_name
from ..terminal import say

__all__ = ["add_sheet", "run_sheet"]


def add_sheet(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``sheet``."""
    parser.add_argument("folder", type=Path, help="the --out folder of wan-lite queue or wan-lite batch")
    parser.add_argument("--rows-by", metavar="COLUMN", help="one row of images for each value, such as sampler")
    parser.add_argument("--columns-by", metavar="COLUMN", help="one column of images for each value, such as shift")
    parser.add_argument("--cell", type=int, default=256, help="longer side of an image, in pixels (default: 256)")
    parser.add_argument("--out", type=Path, help="sheet to write: .png, .jpg or .webp (default: FOLDER/sheet.png)")
    parser.add_argument("--page", type=Path, help="HTML page to write (default: FOLDER/index.html)")
    parser.set_defaults(run=run_sheet)


def run_sheet(options: argparse.Namespace) -> None:
    """Write the sheets, where columns are named, and the page."""
    from ...batches.gallery.page import write_page

    if (options.rows_by is None) != (options.columns_by is None):
        raise ValueError("a sheet has rows and columns; give both --rows-by and --columns-by.")
    if not 16 <= options.cell <= 2048:
        raise ValueError(f"--cell is {options.cell}; allowed are 16 to 2048.")
    page = options.page or options.folder / "index.html"
    if page.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--page is {str(page)!r}; give a file name ending in .html.")
    check_folder(page.parent)
    if options.rows_by is not None:
        _write_sheets(options)
    count = write_page(options.folder, page)
    say(f"{page}: {count} rows")


def _write_sheets(options: argparse.Namespace) -> None:
    from ...batches.gallery.sheets import make_sheets
    from ...pipeline.pictures.convert import save_image

    path = options.out or options.folder / "sheet.png"
    check_sheet_name(path)
    check_folder(path.parent)
    for number, (_, sheet) in enumerate(
        make_sheets(options.folder, options.rows_by, options.columns_by, cell=options.cell)
    ):
        target = path if number == 0 else path.with_name(f"{path.stem}_{number + 1}{path.suffix}")
        save_image(sheet, target)
        say(target)
