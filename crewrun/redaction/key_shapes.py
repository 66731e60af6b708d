"""What unknown keys look like: the shapes that providers document, and the headers and URLs that carry them."""

import re
from typing import Final

REDACTED: Final = "[redacted]"

# The shapes that providers document for their keys.
_DOCUMENTED: Final = (
    r"\b(?:sk|gsk|xai|pplx|csk|hf|nvapi|r8|fw|tgp_v1)[-_][A-Za-z0-9_\-*]{6,}"
    r"|\bAIza[A-Za-z0-9_\-]{20,}|\bAKIA[A-Z0-9]{12,}"
)
# What fingerprints left out before there was a redactor. It must not change, or rows of old runs would run again.
_IN_FINGERPRINTS = re.compile(
    _DOCUMENTED + r"|(?i:(?<=bearer )[A-Za-z0-9._\-~+/]{8,}=*)|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
_KEY = re.compile(r"\b(?:sk|gsk)[-_][A-Za-z0-9_\-*]{6,}|\bAIza[A-Za-z0-9_\-]{20,}|\bAKIA[A-Z0-9]{12,}")
# Ordinary words start like this too, such as `hf-internal-testing`: a key is longer and has a digit or a mask.
_SHORT_KEY = re.compile(r"\b(?:xai|pplx|csk|hf|nvapi|r8|fw|tgp_v1)[-_]([A-Za-z0-9_\-*]{16,})")
# As above, but only with the separator that the provider itself uses.
_SURE_KEY = re.compile(
    r"\b(?:sk-|gsk_)([A-Za-z0-9_\-*]{6,})|\b(?:xai-|pplx-|csk-|hf_|nvapi-|r8_|fw_|tgp_v1_)([A-Za-z0-9_\-*]{16,})"
    r"|\bAIza([A-Za-z0-9_\-]{20,})|\bAKIA[A-Z0-9]{12,}"
)
_NO_WORD = re.compile(r"[0-9*]")
_BEARER = re.compile(r"(?i:\b(bearer(?:\s|%20|[:=\"'])+))[A-Za-z0-9._\-~+/]{8,}=*")
_USERINFO = re.compile(r"(?<=://)[^/?#\s\"'<>\\]+(?=@)")


def without_key_shapes(text: str) -> str:
    """`text` for a fingerprint: without what has the shape of a key, whatever secrets the process knows."""
    return _IN_FINGERPRINTS.sub(REDACTED, text)


def without_likely_keys(text: str) -> str:
    """`text` without anything that is probably a key; a plain word may be hit now and then."""
    text = _KEY.sub(REDACTED, text)
    text = without_userinfo(_SHORT_KEY.sub(_unless_a_word, text))
    return _BEARER.sub(rf"\g<1>{REDACTED}", text) if "bearer" in text.lower() else text


def without_sure_keys(text: str) -> str:
    """`text` without what can only be a key: names of files, tasks and models stay."""
    return without_userinfo(_SURE_KEY.sub(_unless_a_word, text))


def without_userinfo(text: str) -> str:
    """`text` with the user names and passwords in its URLs redacted."""
    return _USERINFO.sub(REDACTED, text) if "://" in text else text


def _unless_a_word(match: re.Match[str]) -> str:
    rest = next((group for group in match.groups() if group), None)
    return REDACTED if rest is None or _NO_WORD.search(rest) else match[0]
