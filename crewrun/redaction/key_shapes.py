"""What keys look like that nobody has told us: shapes that providers document, headers and URLs that carry them."""

import re
from typing import Final

REDACTED: Final = "[redacted]"

# Shapes that providers document for their keys, the header that carries them, and what stands before a URL's host.
_DOCUMENTED: Final = (
    r"\b(?:sk|gsk|xai|pplx|csk|hf|nvapi|r8|fw|tgp_v1)[-_][A-Za-z0-9_\-*]{6,}"
    r"|\bAIza[A-Za-z0-9_\-]{20,}|\bAKIA[A-Z0-9]{12,}"
)
# What runs were told apart by before there was a redactor. It stays so: else their rows would run again.
_IN_FINGERPRINTS = re.compile(
    _DOCUMENTED + r"|(?i:(?<=bearer )[A-Za-z0-9._\-~+/]{8,}=*)|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
_KEY = re.compile(r"\b(?:sk|gsk)[-_][A-Za-z0-9_\-*]{6,}|\bAIza[A-Za-z0-9_\-]{20,}|\bAKIA[A-Z0-9]{12,}")
# Words begin so too, such as `hf-internal-testing`: a key is longer and has a digit, or is shown in part.
_SHORT_KEY = re.compile(r"\b(?:xai|pplx|csk|hf|nvapi|r8|fw|tgp_v1)[-_]([A-Za-z0-9_\-*]{16,})")
# As above, with the separator that the maker writes and no other.
_SURE_KEY = re.compile(
    r"\b(?:sk-|gsk_)([A-Za-z0-9_\-*]{6,})|\b(?:xai-|pplx-|csk-|hf_|nvapi-|r8_|fw_|tgp_v1_)([A-Za-z0-9_\-*]{16,})"
    r"|\bAIza([A-Za-z0-9_\-]{20,})|\bAKIA[A-Z0-9]{12,}"
)
_NO_WORD = re.compile(r"[0-9*]")
_BEARER = re.compile(r"(?i:\b(bearer(?:\s|%20|[:=\"'])+))[A-Za-z0-9._\-~+/]{8,}=*")
_USERINFO = re.compile(r"(?<=://)[^/?#\s\"'<>\\]+(?=@)")


def without_key_shapes(text: str) -> str:
    """`text` for a fingerprint: without keys by their shape alone, whatever secrets the process knows."""
    return _IN_FINGERPRINTS.sub(REDACTED, text)


def without_likely_keys(text: str) -> str:
    """`text` without what may be a key, and a word only now and then."""
    text = _KEY.sub(REDACTED, text)
    text = without_userinfo(_SHORT_KEY.sub(_unless_a_word, text))
    return _BEARER.sub(rf"\g<1>{REDACTED}", text) if "bearer" in text.lower() else text


def without_sure_keys(text: str) -> str:
    """`text` without what can be nothing but a key: names of files, tasks and models stay."""
    return without_userinfo(_SURE_KEY.sub(_unless_a_word, text))


def without_userinfo(text: str) -> str:
    """`text` with the names and passwords in its URLs blacked out."""
    return _USERINFO.sub(REDACTED, text) if "://" in text else text


def _unless_a_word(match: re.Match[str]) -> str:
    behind = next((group for group in match.groups() if group), None)
    return REDACTED if behind is None or _NO_WORD.search(behind) else match[0]
