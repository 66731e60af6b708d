"""Blacks out the secrets of the process in texts that are shown or stored: three functions for three uses.

`redact` is for text from outside, such as errors of servers, tools and libraries. It finds a secret whole, in all its
`forms`, and in part: its beginning, its end, a long piece, or `abc…xyz`. Anything with the shape of a key is blacked
out too, known or not. `redact_value` is for one word that the user wrote, such as an option or a model's name, and
`redact_line` for a finished line, which has such words: neither mistakes a piece of a path for a piece of a secret.

`values` decides which values are secrets, and `key_shapes` what keys look like. Answers of models and tools, inputs and
replays are never redacted.
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

# Texts that are going to be shortened anyway are cut to this first: some servers send megabytes as an error.
LONGEST_QUOTATION: Final = 65_536

# A shared piece of this length is no coincidence, wherever it begins and ends: 16 characters of a key are over 80 bits.
_LONG_PIECE: Final = 16
# Keys start with their provider's name and passwords with any word, and such words appear in paths and names of models.
# A shared run of letters up to this length, about that of the longest everyday words, counts as a word.
_LONGEST_WORD: Final = 11
_PLAIN_SECRET = re.compile(r"(?:[^\W\d]|[-./]){,19}")
# A program that calls models with its users' keys may go through any number of them: the oldest are forgotten.
_MOST_PASSING: Final = 1024
# The start of a PEM block, or of all keys of one provider, is the same in many secrets and identifies none of them.
# This limits the work at one place of a text.
_MOST_OF_ONE_GRAM: Final = 32
# Of a longer secret only the start is learned; certificates and service account files are shorter.
_LONGEST: Final = 20_000
# The cache of answers stays below a megabyte.
_MOST_CACHED, _LONGEST_CACHED = 256, 2_000

_IN_A_ROW = re.compile(rf"(?:{re.escape(REDACTED)})+")
# How servers mask keys: `sk-abc…xyz`, `plant****cdef`.
_MASKS: Final = ("…", "...", "**", "••", "··")
_MASK = re.compile(r"…|\.{3,}|\*{2,}|[•·]{2,}")
# How many characters a mask leaves: at most before it, at least before it, at least where none follow, at least after
# it. OpenAI's own messages show eight and four; with fewer than these, ordinary words before dots would match.
_MOST_SHOWN, _FEWEST_SHOWN, _FEWEST_SHOWN_ALONE, _FEWEST_SHOWN_AFTER = 64, 3, 5, 2
_MOST_MASKS: Final = 2_000  # more than any text that is shown has


class _Anchor(NamedTuple):
    """Eight characters at `offset` in one form of a secret; `is_word` says that the secret looks like a word."""

    form: str
    offset: int
    is_word: bool


class Redactor:
    """Holds the known secrets and blacks them out. Thread-safe.

    Every run of eight characters in a text is looked up in a table of the runs that secrets have at every eighth
    position, so the time depends on the text's length alone, not on its content or the number of secrets.
    """

    def __init__(self) -> None:
        self._secrets: dict[str, tuple[str, ...]] = {}  # with their forms
        self._passing: dict[str, None] = {}  # those that may be forgotten, the latest last
        self._forms: Counter[str] = Counter()  # how many secrets have each form
        self._anchors: dict[str, tuple[_Anchor, ...]] = {}
        self._starts: dict[str, tuple[str, ...]] = {}  # secrets by their first characters
        self._answers: dict[str, str] = {}  # a cache, since attempts and rows fail with the same errors
        self._learning = Lock()  # protects the tables from concurrent calls of `learn`

    def learn(self, values: Iterable[str], *, is_passing: bool = False) -> None:
        """Treat `values` as secrets from now on, except those of less than eight characters.

        Those with `is_passing` are forgotten once 1,024 others have followed them.
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
        """`text`, which comes from outside, with everything blacked out that is a known secret or looks like a key."""
        answers = self._answers
        answer = answers.get(text)
        if answer is None:
            answer = self._redacted(text)
            if len(text) <= _LONGEST_CACHED:
                if len(answers) >= _MOST_CACHED:
                    answers.clear()
                answers[text] = answer
        return answer

    def redact_value(self, value: str) -> str:
        """One word that the user wrote, fit to be stored: without passwords in URLs, blacked out if it is a secret."""
        if self._is_unlike_words(value.strip()):
            return REDACTED
        name, sign, written = value.partition("=")
        if not value.startswith("-") and not self._is_unlike_words(written.strip()):
            name, sign, written = "", "", value
        is_secret = self._is_unlike_words(written.strip())
        return f"{name}{sign}{REDACTED if is_secret else without_credentials(written)}"

    def redact_line(self, line: str) -> str:
        """A finished line or message of ours without the whole secrets in it. Plain words stay, although some are
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
        forms = {form for form in theirs if not self._forms[form]}  # another secret may share a form
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
        """Where secrets, or pieces of them, are in `text`, which is in lower case."""
        anchors, end = self._anchors, 0
        for at in self._hits(text):
            if at + FEWEST_CHARS > end:
                spans = [_span(text, at, anchor) for anchor in anchors.get(text[at : at + FEWEST_CHARS], ())]
                start, stop = max(spans, key=lambda span: span[1] - span[0], default=(at, at))
                if stop > start:
                    end = stop
                    yield start, stop
        masks = _MASK.finditer(text) if any(mark in text for mark in _MASKS) else iter(())
        previous_end = 0
        for mask in islice(masks, _MOST_MASKS):
            first, previous_end = max(previous_end, mask.start() - _MOST_SHOWN), mask.end()
            for start in range(first, mask.start() - _FEWEST_SHOWN + 1):
                secrets = self._starts.get(text[start : start + _FEWEST_SHOWN], ())
                stop = max((_shown_until(secret, text, start, mask) for secret in secrets), default=0)
                if stop:
                    yield start, stop
                    break

    def _whole(self, text: str) -> Iterator[tuple[int, int]]:
        """Where whole secrets that are not plain words are in `text`, which is in lower case."""
        for at in self._hits(text):
            for form, offset, is_word in self._anchors.get(text[at : at + FEWEST_CHARS], ()):
                start = at - offset
                if not is_word and start >= 0 and text.startswith(form, start):
                    yield start, start + len(form)

    def _hits(self, text: str) -> list[int]:
        anchors = self._anchors
        return [at for at in range(len(text) - FEWEST_CHARS + 1) if text[at : at + FEWEST_CHARS] in anchors]


def _offsets(form: str) -> Iterator[int]:
    """Every eighth position, so that any piece of fifteen characters contains one, and the last one."""
    yield from range(0, len(form) - FEWEST_CHARS + 1, FEWEST_CHARS)
    yield len(form) - FEWEST_CHARS


def _span(text: str, at: int, anchor: _Anchor) -> tuple[int, int]:
    """The piece of the secret around its anchor at `at`; empty where that piece may be an unrelated word."""
    form, offset, _ = anchor
    start, stop = at, at + FEWEST_CHARS
    first, last = offset, offset + FEWEST_CHARS
    while first and start and form[first - 1] == text[start - 1]:
        first, start = first - 1, start - 1
    while last < len(form) and stop < len(text) and form[last] == text[stop]:
        last, stop = last + 1, stop + 1
    length = last - first
    if length < len(form) and length <= _LONGEST_WORD and text[start:stop].isalpha():
        return at, at  # a word that the secret merely contains
    if length >= _LONG_PIECE or 3 * length >= 2 * len(form):
        return start, stop
    if text[stop : stop + 1].isalnum():
        return at, at  # the piece is the start of another word
    is_cut_off = first == 0 or (last == len(form) and not text[max(0, start - 1) : start].isalnum())
    return (start, stop) if is_cut_off else (at, at)


def _shown_until(secret: str, text: str, start: int, mask: re.Match[str]) -> int:
    """Where a masked `secret` that begins at `start` ends, with or without its last characters after the mask; 0 if
    this is not that secret.
    """
    if not secret.startswith(text[start : mask.start()]):
        return 0
    rest = text[mask.end() : mask.end() + _FEWEST_SHOWN_AFTER]
    at = secret.find(rest, max(0, len(secret) - _MOST_SHOWN)) if len(rest) == _FEWEST_SHOWN_AFTER else -1
    while at >= 0:
        if text.startswith(secret[at:], mask.end()):
            return mask.end() + len(secret) - at
        at = secret.find(rest, at + 1)
    return mask.end() if mask.start() - start >= _FEWEST_SHOWN_ALONE else 0


def _blacked_out(text: str, spans: Iterable[tuple[int, int]]) -> str:
    parts: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if start > end or not parts:
            parts += [text[end:start], REDACTED]
        end = max(end, stop)
    return "".join([*parts, text[end:]]) if parts else text


# One for the process, not one per run: errors are made where no run is known, in transports, tools, loaders of user
# code, and on the command line before a run exists. Knowing another run's secrets does no harm; forgetting one that a
# late error still quotes would.
_of_the_process = Redactor()
redact = _of_the_process.redact
redact_value = _of_the_process.redact_value
redact_line = _of_the_process.redact_line
learn = _of_the_process.learn
