"""Credentials recognised by structure alone: in URLs, and under names that suggest a secret.

No registry of known secrets is used, so the result is the same in every process and at any time and can be compared.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from crewrun.redaction.key_shapes import REDACTED, without_userinfo
from crewrun.redaction.values import HEADER_BLOCKS, PLAIN_HEADERS, is_secret_name, literals_of, snake

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://")
# When the whole text is a URL, its password may contain what would end a URL elsewhere, such as a space.
_USERINFO = re.compile(r"(?<=://)[^/?#]+(?=@)")
_PARAMETER = re.compile(r"(?<=[?&;])([^=&;#?\s]{1,100})=([^&;#\s\"'<>]+)")


def without_credentials(text: str) -> str:
    """A word that a user wrote, without passwords in URLs or the values of secret query parameters."""
    if "://" not in text:
        return text
    text = _USERINFO.sub(REDACTED, text, count=1) if _URL.match(text) else without_userinfo(text)
    return _PARAMETER.sub(_unless_plain, text) if "?" in text else text


def settings_without_credentials(value: Any, name: str = "") -> Any:
    """Parameters without the values under secret names; references to variables stay."""
    if isinstance(value, Mapping):
        is_headers = snake(name) in HEADER_BLOCKS
        return {
            key: _below(inner)
            if is_secret_name(str(key)) or (is_headers and str(key).lower() not in PLAIN_HEADERS)
            else settings_without_credentials(inner, str(key))
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [settings_without_credentials(inner, name) for inner in value]
    return without_credentials(value) if isinstance(value, str) else value


def _below(value: Any) -> Any:
    """`value`, which stands under a secret name, with all its texts redacted."""
    if isinstance(value, Mapping):
        return {key: _below(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_below(inner) for inner in value]
    return REDACTED if isinstance(value, str) and literals_of(value) else value


def _unless_plain(parameter: re.Match[str]) -> str:
    is_secret = is_secret_name(unquote_plus(parameter[1])) and bool(literals_of(parameter[2]))
    return f"{parameter[1]}={REDACTED}" if is_secret else parameter[0]
