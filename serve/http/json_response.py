"""An answer in JSON, encoded by msgspec: structs as they stand, several times Starlette's speed."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from freshrank.serve.http.route_spec import JSON

_encode = msgspec.json.Encoder().encode

_CONTENT_TYPE = JSON.encode()


class EncodedResponse(Response):
    """An answer that is encoded already."""

    def __init__(self, encoded: bytes, status_code: int = 200) -> None:
        self.status_code = status_code
        self.background = None
        self.body = encoded
        length = str(len(encoded)).encode()
        self.raw_headers = [(b"content-length", length), (b"content-type", _CONTENT_TYPE)]


class JsonResponse(EncodedResponse):
    """Encodes `content`, which msgspec knows how to write.

    >>> JsonResponse({"ok": True}, status_code=503).body
    b'{"ok":true}'
    """

    def __init__(self, content: object, status_code: int = 200) -> None:
        super().__init__(encoded(content), status_code)


def encoded(content: object) -> bytes:
    """The JSON of `content`."""
    return _encode(content)
