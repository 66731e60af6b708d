"""Separates reasoning that a server left in a reply's text, `<think>…</think>` and the like, from the answer.

A server without a reasoning parser sends the model's draft as part of the text. Some chat templates put the opening tag
into the prompt, so that the reply has only the closing one. Besides tags in angle brackets there are Mistral's
`[THINK]`, Kimi's `◁think▷` and the channels of gpt-oss: https://cookbook.openai.com/articles/openai-harmony.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

_NAMES: Final = "think|thinking|thought|thoughts|reasoning"
# U+FEFF and U+200B are not whitespace to `re`.
_BLANK: Final = r"[\s\ufeff\u200b]*"
# In these patterns no two adjacent parts can match the same character, and none can run past the start of another
# match, so that a text of nothing but spaces or tags takes linear, not quadratic time.
_OPENING = re.compile(
    rf"{_BLANK}+(?:[<◁]\s*+(?P<tag>{_NAMES})(?:\s[^<>◁▷]*?)?(?P<empty>/?)[>▷]|\[(?P<square>THINK)\])", re.IGNORECASE
)
_ANY_TAG = re.compile(
    rf"(?:[<◁]\s*+(?:(?P<close>/)\s*+)?(?P<tag>{_NAMES})(?:\s[^<>◁▷]*)?(?<!/)[>▷]"
    r"|\[(?P<ends>/?)(?P<square>THINK)\])",
    re.IGNORECASE,
)
# What comes directly before and after a quoted tag. A quote that closes something else does not count, as in
# `"Four"</think>`.
_QUOTE_BEFORE = re.compile(r"(?:(?<![A-Za-z0-9.,!?)\]}`])(?:`{1,2}|[\"'])|[“‘„«「『])\Z")
_QUOTE_AFTER = re.compile(r"[`\"'”’“»」』]")
# How far back from a tag to look: two backticks and the character before them; the newline and nine spaces that
# `_LINE_BEGINS` matches.
_LONGEST_QUOTE_CHARS, _LONGEST_INDENT_CHARS = 3, 10
_LINE_BEGINS = re.compile(r"(?:\A|\n)[^\S\n]{0,9}\Z")
_LINE_ENDS = re.compile(r"[^\S\n]*+(?:\n|\Z)")
_CHANNEL = "<|channel|>"
# The start of a message; it ends at the next marker.
_MESSAGE = re.compile(
    r"<\|channel\|>\s*+(?P<name>\w*+)(?P<to>[^<]{0,200}+)(?:<\|constrain\|>[^<]{0,50}+)?<\|message\|>"
)
_MARKER = re.compile(r"<\|(?:start|end|return|call|channel)\|>")


class Parts(NamedTuple):
    """A reply's text in two parts. `tags` are the names of the tags that separated them, in lower case, if any."""

    reasoning: str
    answer: str
    tags: frozenset[str] = frozenset()


def part(text: str, *, is_about_tags: bool = False) -> Parts:
    """Separate blocks of reasoning at the start of `text`, closed or not, and anything before a lone closing tag. With
    `is_about_tags` a lone closing tag stays, since it may be part of the answer.
    """
    if _CHANNEL in text and (channels := _channels(text)) is not None:
        return channels
    if not _may_have_tags(text):
        return Parts("", text)
    reasoning: list[str] = []
    tags: set[str] = set()
    at = 0
    while (opening := _OPENING.match(text, at)) is not None:
        tags.add(_name(opening))
        at = opening.end()
        if not opening["empty"]:
            inside, at = _closed(text, at, _name(opening))
            reasoning.append(inside)
    answer = text[at:]
    closing = None if is_about_tags else _lone_closing(answer)
    # After a closed block, a closing tag at the very end closes nothing.
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
    """Split `text` by its channels: `final` is the answer, all others, such as `analysis`, are reasoning. None if there
    are no channels, or if a message is a tool call, which is read elsewhere.
    """
    channels: dict[str, list[str]] = {}
    for message in _MESSAGE.finditer(text):
        if "to=" in message["to"]:
            return None
        end = _MARKER.search(text, message.end())
        channels.setdefault(message["name"], []).append(text[message.end() : end.start() if end else len(text)].strip())
    if not channels:
        return None
    answer = channels.pop("final", [])
    return Parts(
        "\n".join(part for parts in channels.values() for part in parts), "\n".join(answer), frozenset({"channel"})
    )


def names_tag(texts: Iterable[str], tags: frozenset[str]) -> bool:
    """Whether one of `texts` mentions one of these tags, as `<think>` or as "the think tag"."""
    either = "|".join(map(re.escape, tags))
    named = re.compile(
        rf"<\s*+(?:/\s*+)?(?:{either})(?![\w-])|\[/?(?:{either})\]"
        rf"|(?<![\w-])[\"'`]?(?:{either})[\"'`]?\s++(?:xml\s++)?(?:tags?|elements?|blocks?)\b"
        rf"|\b(?:tags?|elements?|blocks?)\s*+(?::\s*+)?(?:(?:named|called)\s++)?[\"'`](?:{either})[\"'`]",
        re.IGNORECASE,
    )
    return any(named.search(text) for text in texts)


def _may_have_tags(text: str) -> bool:
    """A cheap test, since it runs on every reply."""
    if "◁" in text:
        return True
    if "<" in text:
        return "</" in text or "< /" in text or text.lstrip(" \t\r\n\ufeff\u200b").startswith("<")
    return "[" in text and ("[/" in text or text.lstrip().startswith(("[THINK]", "[think]")))


def _name(tag: re.Match[str]) -> str:
    return str(tag["tag"] or tag["square"]).lower()


def _is_closing(tag: re.Match[str]) -> bool:
    return bool(tag["close"] or tag["ends"])


def _closed(text: str, start: int, tag: str) -> tuple[str, int]:
    """The contents of a block whose opening tag ends at `start`, and where the text after the block starts.

    The block ends where its tags are balanced. If they never are, because the draft mentions the tag, it ends at the
    last closing tag; without one it extends to the end of the text.
    """
    depth = 1
    last: re.Match[str] | None = None
    for match in _ANY_TAG.finditer(text, start):
        if _name(match) != tag:
            continue
        depth += -1 if _is_closing(match) else 1
        last = match if _is_closing(match) else last
        if depth == 0:
            break
    return (text[start : last.start()], last.end()) if last is not None else (text[start:], len(text))


def _lone_closing(text: str) -> re.Match[str] | None:
    """The last closing tag before any opening one, or None. Tags that the text merely mentions do not count."""
    last: re.Match[str] | None = None
    for tag in _ANY_TAG.finditer(text):
        if not _is_closing(tag):
            break
        if not _is_mentioned(text, tag):
            last = tag
    return last


def _is_mentioned(text: str, closing: re.Match[str]) -> bool:
    """Whether the text merely mentions a lone closing tag: it is quoted, or it is in the middle of a line and has a
    name that is common in documents. Models are known to end drafts in the middle of a line only with `</think>`.
    """
    before = text[max(0, closing.start() - _LONGEST_QUOTE_CHARS) : closing.start()]
    if _QUOTE_BEFORE.search(before) and _QUOTE_AFTER.match(text, closing.end()):
        return True
    if _name(closing) == "think" or _LINE_ENDS.match(text, closing.end()):
        return False
    return _LINE_BEGINS.search(text, max(0, closing.start() - _LONGEST_INDENT_CHARS), closing.start()) is None
