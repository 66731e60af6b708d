"""`redact`: texts that may be shown or kept, with every secret of the process blacked out.

A secret is found whole, in all its `secret_forms`, and cut: its beginning, its end, a long piece, or `abc…xyz`. What
has the shape of a key is blacked out too, known or not. Which values are secrets is said in `secret_values`. Callers
redact errors and what is made of them; never answers of models and tools, inputs or replays.
"""

import re
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Final, NamedTuple

from crewrun.secret_forms import FEWEST_CHARS, forms_of, lower

REDACTED: Final = "[redacted]"

# A piece of a secret that is as long as this is no chance, wherever it begins and ends.
_LONG_PIECE: Final = 16
# A program that calls models with its users' keys may go through any number: the oldest are forgotten.
_MOST_SECRETS: Final = 1024
# The start of a PEM block, or of all keys of one maker, is the same in many secrets and tells none of them.
_MOST_OF_ONE_GRAM: Final = 32
_LONGEST: Final = 20_000
_MOST_REMEMBERED, _LONGEST_REMEMBERED = 256, 2_000

# Shapes that providers document for their keys, the header that carries them, and what stands before a URL's host.
_DOCUMENTED: Final = (
    r"\b(?:sk|gsk|xai|pplx|csk|hf|nvapi|r8|fw|tgp_v1)[-_][A-Za-z0-9_\-*]{6,}"
    r"|\bAIza[A-Za-z0-9_\-]{20,}|\bAKIA[A-Z0-9]{12,}"
)
_KEY = re.compile(_DOCUMENTED)
_BEARER = re.compile(r"(?i:\b(bearer(?:\s|%20|[:=\"'])+))[A-Za-z0-9._\-~+/]{8,}=*")
_USERINFO = re.compile(r"(?<=://)[^/?#\s\"'<>\\]+(?=@)")
_IN_A_ROW = re.compile(rf"(?:{re.escape(REDACTED)})+")
# What runs were told apart by before there was a redactor. It stays so: else their rows would run again.
_IN_FINGERPRINTS = re.compile(
    _DOCUMENTED + r"|(?i:(?<=bearer )[A-Za-z0-9._\-~+/]{8,}=*)|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
# How keys are shown in part: `sk-abc…xyz`, `plant****cdef`.
_MASKS: Final = ("…", "...", "**", "••", "··")
_MASK = re.compile(r"…|\.{3,}|\*{2,}|[•·]{2,}")
_MOST_SHOWN, _FEWEST_SHOWN, _FEWEST_SHOWN_ALONE = 64, 3, 5


class _Anchor(NamedTuple):
    """Where eight characters stand in one written form of a secret."""

    form: str
    offset: int


class Redactor:
    """Knows secrets and blacks them out. Any thread may use it.

    Texts are searched by their runs of eight characters, in a table of those that secrets have at every eighth place:
    the time is that of the text's length, whatever is in it and however many secrets are known.
    """

    def __init__(self) -> None:
        self._secrets: dict[str, tuple[str, ...]] = {}  # with their forms; the latest learned last
        self._anchors: dict[str, tuple[_Anchor, ...]] = {}
        self._starts: dict[str, tuple[str, ...]] = {}  # secrets by their first characters
        self._answers: dict[str, str] = {}  # what errors say comes again, from attempt to attempt and row to row
        self._learning = Lock()  # protects the tables from two threads that learn

    def learn(self, values: Iterable[str]) -> None:
        """Know `values` from here on; those of less than eight characters are no secrets."""
        for value in values:
            secret = value.strip()[:_LONGEST]
            if len(secret) < FEWEST_CHARS:
                continue
            with self._learning:
                forms = self._secrets.pop(secret, None)
                if forms is None:
                    forms = tuple(forms_of(secret))
                    self._add(secret, forms)
                    self._answers = {}
                self._secrets[secret] = forms
                if len(self._secrets) > _MOST_SECRETS:
                    self._forget(next(iter(self._secrets)))

    def redact(self, text: str) -> str:
        """`text` with all that is known, or looks like a key, blacked out."""
        answers = self._answers
        answer = answers.get(text)
        if answer is None:
            answer = self._redacted(text)
            if len(text) <= _LONGEST_REMEMBERED:
                if len(answers) >= _MOST_REMEMBERED:
                    answers.clear()
                answers[text] = answer
        return answer

    def _redacted(self, text: str) -> str:
        if self._secrets:
            text = _blacked_out(text, self._spans(lower(text)))
        text = _KEY.sub(REDACTED, text)
        if "://" in text:
            text = _USERINFO.sub(REDACTED, text)
        if "bearer" in text.lower():
            text = _BEARER.sub(rf"\g<1>{REDACTED}", text)
        return _IN_A_ROW.sub(REDACTED, text) if 2 * REDACTED in text else text

    def _add(self, secret: str, forms: tuple[str, ...]) -> None:
        for anchor in (_Anchor(form, offset) for form in forms for offset in _offsets(form)):
            gram = anchor.form[anchor.offset : anchor.offset + FEWEST_CHARS]
            others = self._anchors.get(gram, ())
            if len(others) < _MOST_OF_ONE_GRAM and all(other.form != anchor.form for other in others):
                self._anchors[gram] = (*others, anchor)
        start = forms[0][:_FEWEST_SHOWN]
        if len(self._starts.get(start, ())) < _MOST_OF_ONE_GRAM:
            self._starts[start] = (*self._starts.get(start, ()), forms[0])

    def _forget(self, secret: str) -> None:
        forms = set(self._secrets.pop(secret))
        for form in forms:
            for offset in _offsets(form):
                gram = form[offset : offset + FEWEST_CHARS]
                left = tuple(anchor for anchor in self._anchors.get(gram, ()) if anchor.form not in forms)
                self._anchors[gram] = left
                if not left:
                    del self._anchors[gram]
        start = lower(secret)[:_FEWEST_SHOWN]
        self._starts[start] = tuple(other for other in self._starts.get(start, ()) if other not in forms)

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where secrets stand in `text`, which is in lower case."""
        anchors, end = self._anchors, 0
        for at in [at for at in range(len(text) - FEWEST_CHARS + 1) if text[at : at + FEWEST_CHARS] in anchors]:
            if at + FEWEST_CHARS > end:
                spans = [_span(text, at, anchor) for anchor in anchors.get(text[at : at + FEWEST_CHARS], ())]
                start, stop = max(spans, key=lambda span: span[1] - span[0], default=(at, at))
                if stop > start:
                    end = stop
                    yield start, stop
        for mask in _MASK.finditer(text) if any(mark in text for mark in _MASKS) else ():
            for start in range(max(0, mask.start() - _MOST_SHOWN), mask.start() - _FEWEST_SHOWN + 1):
                secrets = self._starts.get(text[start : start + _FEWEST_SHOWN], ())
                stop = max((_shown_until(secret, text, start, mask) for secret in secrets), default=0)
                if stop:
                    yield start, stop
                    break


def _offsets(form: str) -> Iterator[int]:
    """Every eighth place, so that no piece of fifteen characters is without one, and the end."""
    yield from range(0, len(form) - FEWEST_CHARS + 1, FEWEST_CHARS)
    yield len(form) - FEWEST_CHARS


def _span(text: str, at: int, anchor: _Anchor) -> tuple[int, int]:
    """The piece of the secret around the anchor that stands at `at`; nothing where it may be another word."""
    form, offset = anchor
    start, stop = at, at + FEWEST_CHARS
    first, last = offset, offset + FEWEST_CHARS
    while first and start and form[first - 1] == text[start - 1]:
        first, start = first - 1, start - 1
    while last < len(form) and stop < len(text) and form[last] == text[stop]:
        last, stop = last + 1, stop + 1
    length = last - first
    if length >= _LONG_PIECE or 3 * length >= 2 * len(form):
        return start, stop
    if text[stop : stop + 1].isalnum():
        return at, at  # another word goes on there
    is_cut_off = first == 0 or (last == len(form) and not text[max(0, start - 1) : start].isalnum())
    return (start, stop) if is_cut_off else (at, at)


def _shown_until(secret: str, text: str, start: int, mask: re.Match[str]) -> int:
    """Where `secret` ends that is shown in part from `start` on, with its end behind the mask or without; 0 if it is
    not.
    """
    if not secret.startswith(text[start : mask.start()]):
        return 0
    for length in range(min(_MOST_SHOWN, len(secret)), 1, -1):
        if secret.endswith(text[mask.end() : mask.end() + length]) and mask.end() + length <= len(text):
            return mask.end() + length
    return mask.end() if mask.start() - start >= _FEWEST_SHOWN_ALONE else 0


def _blacked_out(text: str, spans: Iterable[tuple[int, int]]) -> str:
    parts: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if start > end or not parts:
            parts += [text[end:start], REDACTED]
        end = max(end, stop)
    return "".join([*parts, text[end:]]) if parts else text


def without_key_shapes(text: str) -> str:
    """`text` for a fingerprint: without keys by their shape alone, whatever secrets the process knows."""
    return _IN_FINGERPRINTS.sub(REDACTED, text)


# One for the process, and not one for each run. Errors are made where no run is at hand: in transports, tools, loaders
# of user code, and the command line before there is a run. To know another run's secret too does no harm, and to forget
# one that a late error still quotes would.
_of_the_process = Redactor()
redact = _of_the_process.redact
learn = _of_the_process.learn
