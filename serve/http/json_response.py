"""An answer in JSON, encoded by msgspec: structs as they stand, several times Starlette's speed."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from freshrank.serve.http.route_spec import JSON

_encode = msgspec.json.Encoder().encode


class JsonResponse(Response):
    """Encodes `content`, which msgspec knows how to write.

    >>> JsonResponse({"ok": True}, status_code=503).body
    b'{"ok":true}'
    """

    media_type = JSON

    def render(self, content: object) -> bytes:
        """The bytes of the body."""
        return _encode(content)
