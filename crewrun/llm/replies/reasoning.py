"""Reasoning that a server left in a reply's text: `<think>…</think>` and its like, apart from the answer.

A server without a reasoning parser sends the model's draft as part of the text; some chat templates put the opening tag
into the prompt, so that the reply has the closing one alone. Besides the tags in angle brackets there are Mistral's
`[THINK]`, Kimi's `◁think▷` and the channels of gpt-oss: https://cookbook.openai.com/articles/openai-harmony.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

_NAMES: Final = "think|thinking|thought|thoughts|reasoning"
# U+FEFF and U+200B are no white space to `re`.
_BLANK: Final = r"[\s\ufeff\u200b]*"
# No two parts of a pattern here can take the same character, and none runs on over the beginning of another match: a
# text of blanks or of tags costs its length, not the square of it.
_OPENING = re.compile(
    rf"{_BLANK}+(?:[<◁]\s*+(?P<tag>{_NAMES})(?:\s[^<>◁▷]*?)?(?P<empty>/?)[>▷]|\[(?P<square>THINK)\])", re.IGNORECASE
)
_ANY_TAG = re.compile(
    rf"(?:[<◁]\s*+(?:(?P<close>/)\s*+)?(?P<tag>{_NAMES})(?:\s[^<>◁▷]*)?(?<!/)[>▷]"
    r"|\[(?P<ends>/?)(?P<square>THINK)\])",
    re.IGNORECASE,
)
# What stands directly before a tag that is quoted, and behind it. A quote that closes something quotes no tag, as in
# `"Four"</think>`.
_QUOTE_BEFORE = re.compile(r"(?:(?<![A-Za-z0-9.,!?)\]}`])(?:`{1,2}|[\"'])|[“‘„«「『])\Z")
_QUOTE_BEHIND = re.compile(r"[`\"'”’“»」』]")
_LONGEST_QUOTE_CHARS, _LONGEST_INDENT_CHARS = 3, 10
_LINE_BEGINS = re.compile(r"(?:\A|\n)[^\S\n]{0,9}\Z")
_LINE_ENDS = re.compile(r"[^\S\n]*+(?:\n|\Z)")
_CHANNEL = "<|channel|>"
# Each message begins so, and ends where the next marker stands.
_MESSAGE = re.compile(
    r"<\|channel\|>\s*+(?P<name>\w*+)(?P<to>[^<]{0,200}+)(?:<\|constrain\|>[^<]{0,50}+)?<\|message\|>"
)
_MARKER = re.compile(r"<\|(?:start|end|return|call|channel)\|>")


class Parts(NamedTuple):
    """A reply's text in two. `tags` are the names of the tags that parted it, in lower case; none where none did."""

    reasoning: str
    answer: str
    tags: frozenset[str] = frozenset()


def part(text: str, *, is_about_tags: bool = False) -> Parts:
    """`text` without a block of reasoning at its start, closed or not, and without what stands before a lone closing
    tag. Of a text that `is_about_tags` a lone closing tag may be a part, and is left.
    """
    if _CHANNEL in text and (channels := _channels(text)) is not None:
        return channels
    if not _may_have_tags(text):
        return Parts("", text)
    reasoning: list[str] = []
    tags: set[str] = set()
    at = 0
    while (opened := _OPENING.match(text, at)) is not None:
        tags.add(_name(opened))
        at = opened.end()
        if not opened["empty"]:
            inside, at = _closed(text, at, _name(opened))
            reasoning.append(inside)
    answer = text[at:]
    closing = None if is_about_tags else _lone_closing(answer)
    # Behind a block that was closed, a last closing tag with nothing after it closes nothing.
    if closing is not None and (answer[closing.end() :].strip() or not tags):
        reasoning.append(answer[: closing.start()])
        answer = answer[closing.end() :]
    elif closing is not None:
        answer = answer[: closing.start()]
    elif not tags:
        return Parts("", text)
    if closing is not None:
        tags.add(_name(closing))
    return Parts("\n".join(filter(None, map(str.strip, reasoning))), answer.strip(), frozenset(tags))


def _channels(text: str) -> Parts | None:
    """`text` by its channels: `analysis` is reasoning, `final` the answer. None where there are none, or where a
    message is a call of a tool, which is read as it stands.
    """
    said: dict[str, list[str]] = {}
    for message in _MESSAGE.finditer(text):
        if "to=" in message["to"]:
            return None
        end = _MARKER.search(text, message.end())
        said.setdefault(message["name"], []).append(text[message.end() : end.start() if end else len(text)].strip())
    if not said:
        return None
    answer = said.pop("final", [])
    return Parts(
        "\n".join(part for parts in said.values() for part in parts), "\n".join(answer), frozenset({"channel"})
    )


def names_tag(texts: Iterable[str], tags: frozenset[str]) -> bool:
    """Whether one of `texts` names one of these tags, as a tag or in words: `<think>`, "the think tag"."""
    either = "|".join(map(re.escape, tags))
    named = re.compile(
        rf"<\s*+(?:/\s*+)?(?:{either})(?![\w-])|\[/?(?:{either})\]"
        rf"|(?<![\w-])[\"'`]?(?:{either})[\"'`]?\s++(?:xml\s++)?(?:tags?|elements?|blocks?)\b"
        rf"|\b(?:tags?|elements?|blocks?)\s*+(?::\s*+)?(?:(?:named|called)\s++)?[\"'`](?:{either})[\"'`]",
        re.IGNORECASE,
    )
    return any(named.search(text) for text in texts)


def _may_have_tags(text: str) -> bool:
    """Cheap, since it is asked of every reply."""
    if "◁" in text:
        return True
    if "<" in text:
        return "</" in text or "< /" in text or text.lstrip(" \t\r\n\ufeff\u200b").startswith("<")
    return "[" in text and ("[/" in text or text.lstrip().startswith(("[THINK]", "[think]")))


def _name(found: re.Match[str]) -> str:
    return str(found["tag"] or found["square"]).lower()


def _is_closing(found: re.Match[str]) -> bool:
    return bool(found["close"] or found["ends"])


def _closed(text: str, start: int, tag: str) -> tuple[str, int]:
    """What is inside a block whose opening tag ends at `start`, and where the text behind the block begins.

    The block ends where its tags are balanced. Where they are not, since the draft speaks of the tag, it ends at the
    last closing one, and without any it is not closed.
    """
    depth = 1
    last: re.Match[str] | None = None
    for found in _ANY_TAG.finditer(text, start):
        if _name(found) != tag:
            continue
        depth += -1 if _is_closing(found) else 1
        last = found if _is_closing(found) else last
        if depth == 0:
            break
    return (text[start : last.start()], last.end()) if last is not None else (text[start:], len(text))


def _lone_closing(text: str) -> re.Match[str] | None:
    """The last closing tag that no opening one stands before, None when there is none. One that the text speaks of is
    none.
    """
    last: re.Match[str] | None = None
    for found in _ANY_TAG.finditer(text):
        if not _is_closing(found):
            break
        if not _is_spoken_of(text, found):
            last = found
    return last


def _is_spoken_of(text: str, closing: re.Match[str]) -> bool:
    """Whether a lone closing tag is what the text is about: it is quoted, or is inside a line and of a name that
    documents have too. Of `</think>` alone models are known to end their drafts inside a line.
    """
    before = text[max(0, closing.start() - _LONGEST_QUOTE_CHARS) : closing.start()]
    if _QUOTE_BEFORE.search(before) and _QUOTE_BEHIND.match(text, closing.end()):
        return True
    if _name(closing) == "think" or _LINE_ENDS.match(text, closing.end()):
        return False
    return _LINE_BEGINS.search(text, max(0, closing.start() - _LONGEST_INDENT_CHARS), closing.start()) is None
