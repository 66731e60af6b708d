"""The forms in which a text may have a secret: as it is, and as URLs, JSON, HTML, Python and base64 write it."""

from base64 import b64encode, urlsafe_b64encode
from html import escape
from json import dumps
from typing import Final
from urllib.parse import quote, quote_plus

# What is shorter is a placeholder such as `x` or `none`, which stands in other words too.
FEWEST_CHARS: Final = 8

# ASCII only: of other letters the case may have another length.
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def forms_of(secret: str) -> dict[str, None]:
    """How a text may have `secret`, in lower case: first as it is."""
    raw = secret.encode("utf-8", "surrogatepass")
    quoted = dumps(secret)[1:-1]
    written = [secret, quoted, dumps(secret, ensure_ascii=False)[1:-1], dumps(quoted)[1:-1], repr(secret)[1:-1]]
    written += [quote(raw, safe=""), quote(raw), quote_plus(raw), escape(secret), " ".join(secret.split())]
    for encode in (b64encode, urlsafe_b64encode):
        # Base64 of a longer text, such as `user:password`, has it in one of three ways, without what it shares with
        # its neighbours.
        for before in range(3):
            whole = encode(b"\0" * before + raw).decode()
            written.append(whole[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6])
    return dict.fromkeys(lower(form) for form in written if len(form) >= FEWEST_CHARS)


def lower(text: str) -> str:
    """`text` in lower case, with as many characters as before."""
    return text.lower() if text.isascii() else text.translate(_LOWER)
