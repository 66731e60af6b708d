"""The forms in which a secret may appear in a text: verbatim, or as URLs, JSON, HTML, Python and base64 encode it."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from html import escape
from itertools import product
from json import dumps
from typing import Final
from urllib.parse import quote, quote_plus

# Anything shorter is a placeholder such as `x` or `none`, and part of ordinary words too.
FEWEST_CHARS: Final = 8

# ASCII only: lowering other letters may change a text's length.
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

_OF_GO = {ord(char): f"\\u{ord(char):04x}" for char in "&<>"}
_OF_PHP = _OF_GO | {ord("'"): "\\u0027"}
_OF_NET = _OF_PHP | {ord(char): f"\\u{ord(char):04x}" for char in "+`"}


def forms_of(secret: str) -> dict[str, None]:
    """The forms of `secret` in lower case, the verbatim one first."""
    raw = secret.encode("utf-8", "surrogatepass")
    written = [secret, *_in_json(secret), dumps(dumps(secret)[1:-1])[1:-1], repr(secret)[1:-1], *_in_html(secret)]
    written += [quote(raw, safe=""), quote(raw), quote_plus(raw), " ".join(secret.split())]
    for encode in (b64encode, urlsafe_b64encode):
        # In the base64 of a longer text, such as `user:password`, a secret has one of three alignments; the characters
        # that also encode bits of its neighbours are left out.
        for before in range(3):
            whole = encode(b"\0" * before + raw).decode()
            written.append(whole[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6])
    return dict.fromkeys(lower(form) for form in written if len(form) >= FEWEST_CHARS)


def _in_json(secret: str) -> Iterator[str]:
    """As Python, PHP (`\\/`), Go (`\\u0026`), Ruby and .NET (which escapes quotes that way too) write it."""
    for text in (dumps(secret)[1:-1], dumps(secret, ensure_ascii=False)[1:-1]):
        for escaped in (text, text.translate(_OF_GO), text.translate(_OF_PHP), text.translate(_OF_NET)):
            for spelling in (escaped, escaped.replace('\\"', "\\u0022")):
                yield spelling
                yield spelling.replace("/", "\\/")


def _in_html(secret: str) -> Iterator[str]:
    """With quotes in each spelling, escaped or not."""
    text = escape(secret, quote=False)
    doubles = ('"', "&quot;", "&#34;", "&#x22;") if '"' in text else ('"',)
    singles = ("'", "&#x27;", "&#39;", "&#039;", "&apos;") if "'" in text else ("'",)
    for double, single in product(doubles, singles):
        spelling = text.replace('"', double).replace("'", single)
        yield spelling
        yield spelling.replace("+", "&#43;")  # Go's templates
        yield spelling.replace("/", "&#x2F;").replace("=", "&#x3D;").replace("`", "&#x60;")  # Mustache's


def lower(text: str) -> str:
    """`text` in lower case, with the same number of characters."""
    return text.lower() if text.isascii() else text.translate(_LOWER)
