"""Text on images: the font that Pillow ships, and breaking a text so that it fits a width."""

from __future__ import annotations

from PIL import ImageFont

__all__ = ["TEXT_SIZE", "TITLE_SIZE", "Font", "load_font", "wrap_text"]

TEXT_SIZE, TITLE_SIZE = 13, 15
"""Points, on charts and grids alike."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def load_font(size: int = TEXT_SIZE) -> Font:
    """Return Pillow's own font."""
    return ImageFont.load_default(size)


def wrap_text(text: str, font: Font, width: int) -> list[str]:
    """Break a text at spaces so that each line fits ``width`` pixels; a word that is too long is cut with dots."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if line and font.getlength(f"{line} {word}") > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return [_cut_line(line, font, width) for line in lines]


def _cut_line(line: str, font: Font, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."
