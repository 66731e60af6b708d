"""`word_diff`: where two texts differ, word by word, as `git diff --word-diff` shows it.

The time is bounded, whatever the texts: what both begin and end with is cut off first, and of what is left the first
thousand words are compared.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final, Literal, NamedTuple

Sign = Literal["=", "-", "+"]

_TOKEN: Final = re.compile(r"\w+|\s+|[^\w\s]")
_MOST_TOKENS: Final = 2000  # of each text, a thousand words
_MOST_CHARS: Final = 20_000
_MOST_PAIRS: Final = 20_000  # with a few hundred matches half a second
_CONTEXT: Final = 14  # tokens: seven words and the spaces between them
_CONTEXT_CHARS: Final = 200
_LONGEST: Final = 600  # characters of a segment that only one text has
_FEWEST_COMMON: Final = 0.3  # with less in common, two texts are easier to read one after the other
_WORD_CHARS: Final = 100  # a word that is cut in two is looked for no farther than this
_ELLIPSIS: Final = "…"


class Segment(NamedTuple):
    """A piece of text that both have (`=`), only A (`-`) or only B (`+`)."""

    sign: Sign
    text: str


def word_diff(a: str, b: str) -> list[Segment]:
    """The segments of two texts, with … for the middle of long ones. Equal texts have none."""
    if a == b:
        return []
    start = _whole_word(a, _common_start(a, b))
    end = _common_end(a[start:], b[start:])
    old, new = a[start : len(a) - end], b[start : len(b) - end]
    segments = [
        Segment("=", a[:start]),
        *_middle(old, new),
        Segment("=", a[len(a) - end :]),
    ]
    return list(_shortened([segment for segment in segments if segment.text]))


def _common_start(a: str, b: str) -> int:
    """How many characters both begin with."""
    most = min(len(a), len(b))
    return bisect_left(range(most), True, key=lambda n: a[: n + 1] != b[: n + 1])


def _common_end(a: str, b: str) -> int:
    """How many characters both end with, without a part of a word."""
    most = min(len(a), len(b))
    end = bisect_left(range(most), True, key=lambda n: a[len(a) - n - 1 :] != b[len(b) - n - 1 :])
    for more in range(min(end, _WORD_CHARS)):
        at = len(a) - end + more
        if not (a[at].isalnum() or a[at] == "_"):
            return end - more
    return end if end > _WORD_CHARS else 0


def _whole_word(text: str, end: int) -> int:
    """`end`, or where the word begins that it is in."""
    for at in range(end, max(0, end - _WORD_CHARS), -1):
        if not (text[at - 1].isalnum() or text[at - 1] == "_"):
            return at
    return end if end > _WORD_CHARS else 0


def _middle(a: str, b: str) -> list[Segment]:
    """The segments of two texts that differ in their first word and in their last."""
    old, new = (_TOKEN.findall(text[:_MOST_CHARS])[:_MOST_TOKENS] for text in (a, b))
    # Matches do not begin with a space, nor in long texts with a frequent word: the time would be cubic.
    matcher = SequenceMatcher(str.isspace, old, new, autojunk=_pairs(old, new) > _MOST_PAIRS)
    common = sum(_length(old[block.a : block.a + block.size]) for block in matcher.get_matching_blocks())
    if common < _FEWEST_COMMON * min(_length(old), _length(new)):
        return [Segment("-", a), Segment("+", b)]
    segments: list[Segment] = []
    for tag, i, k, j, m in matcher.get_opcodes():
        if tag == "equal":
            segments.append(Segment("=", "".join(old[i:k])))
        else:
            segments += [Segment("-", "".join(old[i:k])), Segment("+", "".join(new[j:m]))]
    is_cut = _length(old) < len(a) or _length(new) < len(b)
    return [*_joined(segments), *([Segment("=", _ELLIPSIS)] if is_cut else [])]


def _pairs(old: Sequence[str], new: Sequence[str]) -> int:
    """How many pairs of equal words there are, which difflib may look at once for each of its matches."""
    counts = Counter(token for token in new if not token.isspace())
    return sum(counts[token] for token in old)


def _length(tokens: Sequence[str]) -> int:
    return sum(map(len, tokens))


def _joined(segments: Sequence[Segment]) -> list[Segment]:
    """The segments without equal ones of no word between two changes, such as a space: the changes become one."""
    joined: list[Segment] = []
    removed = added = ""
    for number, segment in enumerate(segments):
        if segment.sign == "-":
            removed += segment.text
        elif segment.sign == "+":
            added += segment.text
        elif number and number < len(segments) - 1 and not re.search(r"\w", segment.text):
            removed, added = removed + segment.text, added + segment.text
        else:
            joined += [Segment("-", removed), Segment("+", added), segment]
            removed = added = ""
    joined += [Segment("-", removed), Segment("+", added)]
    return joined


def _shortened(segments: Sequence[Segment]) -> Iterator[Segment]:
    """The segments with … in long ones: of what both have, the words next to a change are shown."""
    for number, (sign, text) in enumerate(segments):
        if sign != "=":
            yield Segment(sign, _cut(text, text[: _LONGEST // 2], text[-_LONGEST // 2 :]))
            continue
        first = "" if not number else "".join(_TOKEN.findall(text[:_CONTEXT_CHARS])[:_CONTEXT])
        is_last = number == len(segments) - 1
        last = "" if is_last else "".join(_TOKEN.findall(text[-_CONTEXT_CHARS:])[-_CONTEXT:])
        yield Segment(sign, _cut(text, first, last))


def _cut(text: str, first: str, last: str) -> str:
    return text if len(first) + len(last) + len(_ELLIPSIS) >= len(text) else f"{first}{_ELLIPSIS}{last}"
