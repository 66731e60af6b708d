"""How the journal refers to rows and result lines: by 64-bit digests, and by ids in their shortest form.

Digests are signed because SQLite's integers are. The values are in the journals of existing runs, so they may not
change.
"""

from hashlib import blake2b
from typing import Final

_CONTENT_ID_CHARS: Final = 16


def row_key(row_id: str) -> int:
    """The key of a row's id."""
    return _short(row_id.encode("utf-8", "surrogatepass"))


def done_key(row_id: str, content: str, definition: int) -> int:
    """The key of a row with this id and content under a definition of the crew."""
    return _short(f"{row_id}\0{content}\0{definition}".encode("utf-8", "surrogatepass"))


def storable(text: str) -> str:
    """`text` without lone surrogates, which SQLite does not accept."""
    return text.encode("utf-8", "replace").decode()


def pack_id(row_id: str) -> bytes | str:
    """A row's id as the journal stores it: the 16 hex digits of a content id become 8 bytes."""
    if not row_id.isascii():  # SQLite does not accept lone surrogates
        return row_id.encode("utf-8", "backslashreplace").decode()
    if len(row_id) == _CONTENT_ID_CHARS:
        try:
            packed = bytes.fromhex(row_id)
        except ValueError:
            return row_id
        return packed if packed.hex() == row_id else row_id
    return row_id


def unpack_id(packed: bytes | str) -> str:
    """The id behind a packed one."""
    return packed.hex() if isinstance(packed, bytes) else packed


def id_key(packed: bytes | str) -> int:
    """`row_key` of a packed id."""
    return row_key(unpack_id(packed))


def line_digest(line: bytes) -> int:
    """The digest of a result line."""
    return _short(line)


def _short(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little", signed=True)
