"""Reading what a page posts: JSON of a bounded size, or one sentence on why not."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web
from comfy.cli_args import args

__all__ = ["LARGEST_BODY", "read_json", "refuse"]

LARGEST_BODY = 16 << 20
"""Bytes of a request; the largest workflows have about one MiB."""


async def read_json(request: web.Request, largest: int = LARGEST_BODY) -> dict[str, Any]:
    """Return the JSON object of a request.

    Raises:
        web.HTTPException: It comes from another site, is of another type, too large, or not a JSON object; the answer
            says so in one sentence.
    """
    if request.headers.get("Sec-Fetch-Site") == "cross-site" and not args.enable_cors_header:  # older hosts let it pass
        raise refuse(web.HTTPForbidden, "The request comes from another site; ask from ComfyUI's own page.")
    if request.content_type != "application/json":
        raise refuse(web.HTTPUnsupportedMediaType, f"The request has {request.content_type}; send application/json.")
    body = bytearray()
    async for part in request.content.iter_chunked(1 << 16):
        body += part
        if len(body) > largest:
            sentence = f"The request has more than {largest >> 20} MiB; send less."
            raise web.HTTPRequestEntityTooLarge(largest, len(body), **_json_error(sentence))
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise refuse(web.HTTPBadRequest, f"The request is not JSON ({str(error)[:80]}).") from None
    if not isinstance(content, dict):
        raise refuse(web.HTTPBadRequest, f"The request is a JSON {type(content).__name__}; send an object.")
    return content


def refuse(kind: type[web.HTTPException], sentence: str) -> web.HTTPException:
    """Return an error answer whose JSON ``error`` is a sentence."""
    return kind(**_json_error(sentence))


def _json_error(sentence: str) -> dict[str, Any]:
    return {"text": json.dumps({"error": sentence}), "content_type": "application/json"}
