"""Parts of a message's content, in OpenAI's form."""

import struct
import zlib
from base64 import b64encode
from typing import Any


def png(size: int = 1) -> bytes:
    """A red square."""
    rows = b"".join(b"\0" + b"\xff\0\0" * size for _ in range(size))
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """Data as a URL."""
    return f"data:{kind};base64,{b64encode(data).decode()}"


def text(words: str) -> dict[str, Any]:
    """A part with text."""
    return {"type": "text", "text": words}


def image(url: str) -> dict[str, Any]:
    """A part with an image."""
    return {"type": "image_url", "image_url": {"url": url}}
