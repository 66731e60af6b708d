"""Texts that may be shown or kept, with the secrets of the process blacked out: three functions for three uses.

`redact` is for what comes from outside, such as errors of servers, tools and libraries. A secret is found whole, in all
its `secret_forms`, and cut: its beginning, its end, a long piece, or `abc…xyz`. What has the shape of a key is blacked
out too, known or not. `redact_value` is for one word that the user wrote, such as an option or a model's name, and
`redact_line` for a finished line, which has such words: neither takes a piece of a path for a piece of a secret.

Which values are secrets is said in `secret_values`, and what keys look like in `key_shapes`. Answers of models and
tools, inputs and replays are never redacted.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from threading import Lock
from typing import Final, NamedTuple

from crewrun.redaction.credentials import without_credentials
from crewrun.redaction.forms import FEWEST_CHARS, forms_of, lower
from crewrun.redaction.key_shapes import REDACTED, without_likely_keys, without_sure_keys

# What is cut afterwards is cut to this before: nobody needs more of an error, and some servers send megabytes.
LONGEST_QUOTATION: Final = 65_536

# A piece of a secret that is as long as this is no chance, wherever it begins and ends.
_LONG_PIECE: Final = 16
# Keys begin with their maker's name, and passwords with any word: such a piece stands in paths and names of models.
_LONGEST_WORD: Final = 11
_PLAIN_SECRET = re.compile(r"(?:[^\W\d]|[-./]){,19}")
# A program that calls models with its users' keys may go through any number: the oldest are forgotten.
_MOST_PASSING: Final = 1024
# The start of a PEM block, or of all keys of one maker, is the same in many secrets and tells none of them.
_MOST_OF_ONE_GRAM: Final = 32
_LONGEST: Final = 20_000
_MOST_REMEMBERED, _LONGEST_REMEMBERED = 256, 2_000

_IN_A_ROW = re.compile(rf"(?:{re.escape(REDACTED)})+")
# How keys are shown in part: `sk-abc…xyz`, `plant****cdef`.
_MASKS: Final = ("…", "...", "**", "••", "··")
_MASK = re.compile(r"…|\.{3,}|\*{2,}|[•·]{2,}")
_MOST_SHOWN, _FEWEST_SHOWN, _FEWEST_SHOWN_ALONE, _FEWEST_SHOWN_BEHIND = 64, 3, 5, 2
_MOST_MASKS: Final = 2_000  # as many as are in any text that is shown


class _Anchor(NamedTuple):
    """Where eight characters stand in one written form of a secret, which is like a word or not."""

    form: str
    offset: int
    is_word: bool


class Redactor:
    """Knows secrets and blacks them out. Any thread may use it.

    Texts are searched by their runs of eight characters, in a table of those that secrets have at every eighth place:
    the time is that of the text's length, whatever is in it and however many secrets are known.
    """

    def __init__(self) -> None:
        self._secrets: dict[str, tuple[str, ...]] = {}  # with their forms
        self._passing: dict[str, None] = {}  # those that may be forgotten; the latest learned last
        self._forms: Counter[str] = Counter()  # of how many secrets each is one
        self._anchors: dict[str, tuple[_Anchor, ...]] = {}
        self._starts: dict[str, tuple[str, ...]] = {}  # secrets by their first characters
        self._answers: dict[str, str] = {}  # what errors say comes again, from attempt to attempt and row to row
        self._learning = Lock()  # protects the tables from two threads that learn

    def learn(self, values: Iterable[str], *, is_passing: bool = False) -> None:
        """Know `values` from here on; those of less than eight characters are no secrets.

        Those that are only passing are forgotten when a thousand others have come after them.
        """
        for value in values:
            secret = value.strip()[:_LONGEST]
            if len(secret) < FEWEST_CHARS:
                continue
            with self._learning:
                is_known = secret in self._secrets
                if is_passing and (not is_known or secret in self._passing):
                    self._passing.pop(secret, None)
                    self._passing[secret] = None
                elif not is_passing:
                    self._passing.pop(secret, None)
                if not is_known:
                    self._add(secret)
                    self._answers = {}
                if len(self._passing) > _MOST_PASSING:
                    self._forget(next(iter(self._passing)))

    def redact(self, text: str) -> str:
        """`text`, which comes from outside, with all that is known, or looks like a key, blacked out."""
        answers = self._answers
        answer = answers.get(text)
        if answer is None:
            answer = self._redacted(text)
            if len(text) <= _LONGEST_REMEMBERED:
                if len(answers) >= _MOST_REMEMBERED:
                    answers.clear()
                answers[text] = answer
        return answer

    def redact_value(self, value: str) -> str:
        """One word that the user wrote, as it may be kept: without passwords in URLs, and not where it is a secret."""
        if self._is_unlike_words(value.strip()):
            return REDACTED
        name, sign, written = value.partition("=")
        if not value.startswith("-") and not self._is_unlike_words(written.strip()):
            name, sign, written = "", "", value
        is_secret = self._is_unlike_words(written.strip())
        return f"{name}{sign}{REDACTED if is_secret else without_credentials(written)}"

    def redact_line(self, line: str) -> str:
        """A finished line or message of ours without the secrets that it has as a whole. Words stay, of which some are
        passwords too.
        """
        if self._secrets:
            line = _blacked_out(line, self._whole(lower(line)))
        return _IN_A_ROW.sub(REDACTED, without_sure_keys(line))

    def _is_unlike_words(self, secret: str) -> bool:
        return secret in self._secrets and not _PLAIN_SECRET.fullmatch(secret)

    def _redacted(self, text: str) -> str:
        if self._secrets:
            text = _blacked_out(text, self._spans(lower(text)))
        text = without_likely_keys(text)
        return _IN_A_ROW.sub(REDACTED, text) if 2 * REDACTED in text else text

    def _add(self, secret: str) -> None:
        forms = self._secrets[secret] = tuple(forms_of(secret))
        self._forms.update(forms)
        is_word = _PLAIN_SECRET.fullmatch(secret) is not None
        for anchor in (_Anchor(form, offset, is_word) for form in forms for offset in _offsets(form)):
            gram = anchor.form[anchor.offset : anchor.offset + FEWEST_CHARS]
            others = self._anchors.get(gram, ())
            if len(others) < _MOST_OF_ONE_GRAM and all(other.form != anchor.form for other in others):
                self._anchors[gram] = (*others, anchor)
        start = forms[0][:_FEWEST_SHOWN]
        others_shown = self._starts.get(start, ())
        if len(others_shown) < _MOST_OF_ONE_GRAM and forms[0] not in others_shown:
            self._starts[start] = (*others_shown, forms[0])

    def _forget(self, secret: str) -> None:
        del self._passing[secret]
        theirs = self._secrets.pop(secret)
        self._forms.subtract(theirs)
        forms = {form for form in theirs if not self._forms[form]}  # another secret may be written so too
        for form in forms:
            del self._forms[form]
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
        for at in self._hits(text):
            if at + FEWEST_CHARS > end:
                spans = [_span(text, at, anchor) for anchor in anchors.get(text[at : at + FEWEST_CHARS], ())]
                start, stop = max(spans, key=lambda span: span[1] - span[0], default=(at, at))
                if stop > start:
                    end = stop
                    yield start, stop
        masks = _MASK.finditer(text) if any(mark in text for mark in _MASKS) else iter(())
        behind = 0
        for mask in islice(masks, _MOST_MASKS):
            first, behind = max(behind, mask.start() - _MOST_SHOWN), mask.end()
            for start in range(first, mask.start() - _FEWEST_SHOWN + 1):
                secrets = self._starts.get(text[start : start + _FEWEST_SHOWN], ())
                stop = max((_shown_until(secret, text, start, mask) for secret in secrets), default=0)
                if stop:
                    yield start, stop
                    break

    def _whole(self, text: str) -> Iterator[tuple[int, int]]:
        """Where secrets stand as a whole that are no words, in `text`, which is in lower case."""
        for at in self._hits(text):
            for form, offset, is_word in self._anchors.get(text[at : at + FEWEST_CHARS], ()):
                start = at - offset
                if not is_word and start >= 0 and text.startswith(form, start):
                    yield start, start + len(form)

    def _hits(self, text: str) -> list[int]:
        anchors = self._anchors
        return [at for at in range(len(text) - FEWEST_CHARS + 1) if text[at : at + FEWEST_CHARS] in anchors]


def _offsets(form: str) -> Iterator[int]:
    """Every eighth place, so that no piece of fifteen characters is without one, and the end."""
    yield from range(0, len(form) - FEWEST_CHARS + 1, FEWEST_CHARS)
    yield len(form) - FEWEST_CHARS


def _span(text: str, at: int, anchor: _Anchor) -> tuple[int, int]:
    """The piece of the secret around the anchor that stands at `at`; nothing where it may be another word."""
    form, offset, _ = anchor
    start, stop = at, at + FEWEST_CHARS
    first, last = offset, offset + FEWEST_CHARS
    while first and start and form[first - 1] == text[start - 1]:
        first, start = first - 1, start - 1
    while last < len(form) and stop < len(text) and form[last] == text[stop]:
        last, stop = last + 1, stop + 1
    length = last - first
    if length < len(form) and length <= _LONGEST_WORD and text[start:stop].isalpha():
        return at, at  # a word that the secret has too
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
    behind = text[mask.end() : mask.end() + _FEWEST_SHOWN_BEHIND]
    at = secret.find(behind, max(0, len(secret) - _MOST_SHOWN)) if len(behind) == _FEWEST_SHOWN_BEHIND else -1
    while at >= 0:
        if text.startswith(secret[at:], mask.end()):
            return mask.end() + len(secret) - at
        at = secret.find(behind, at + 1)
    return mask.end() if mask.start() - start >= _FEWEST_SHOWN_ALONE else 0


def _blacked_out(text: str, spans: Iterable[tuple[int, int]]) -> str:
    parts: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if start > end or not parts:
            parts += [text[end:start], REDACTED]
        end = max(end, stop)
    return "".join([*parts, text[end:]]) if parts else text


# One for the process, and not one for each run. Errors are made where no run is at hand: in transports, tools, loaders
# of user code, and the command line before there is a run. To know another run's secret too does no harm, and to forget
# one that a late error still quotes would.
_of_the_process = Redactor()
redact = _of_the_process.redact
redact_value = _of_the_process.redact_value
redact_line = _of_the_process.redact_line
learn = _of_the_process.learn
