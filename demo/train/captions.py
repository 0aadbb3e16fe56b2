"""Write the demo's captions as an embeds file; nothing is learned."""

from __future__ import annotations

from collections.abc import Sequence

from ...models.text_embeds import save_text_embeds
from .. import demo_file
from ..captions import embed
from ..patterns import list_captions
from .loop import make_parser

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write ``captions.safetensors``: all captions of the image set."""
    options = make_parser(main.__doc__).parse_args(arguments)
    save_text_embeds(demo_file("captions", options.models), [embed(text) for text in list_captions()], list_captions())


if __name__ == "__main__":
    main()
