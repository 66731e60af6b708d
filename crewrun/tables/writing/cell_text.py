"""Values as text, for columns and formats that have nothing else."""

import json
from collections.abc import Callable
from typing import Any, Final

from crewrun.tables.writing.fields import Null

_encode: Final = json.JSONEncoder(ensure_ascii=False).encode
_TEXTS: Final[dict[type, Callable[[Any], str]]] = {str: lambda text: text, int: str, Null: lambda _: "null"}


def text_of(value: Any) -> str:
    """Strings as they are, anything else as JSON."""
    return _TEXTS.get(type(value), _encode)(value)


def legal(text: str) -> str:
    """The text with lone surrogates, which JSON may contain and UTF-8 may not, as the escapes that they came as."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
