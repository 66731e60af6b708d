"""`TextWithPictures`: the result of a tool that returns pictures besides text, such as one of an MCP server."""

import json
from collections.abc import Iterable
from typing import Any

from crewrun.messages import Message, Part, in_parts

# Between text and pictures in the journal. Journals of older versions have no text with it, as good as certainly.
_MARK = "\x1epictures:"

# Of a result, as base64: what Anthropic takes of one picture is 5 MB, and of a request 32.
# https://docs.anthropic.com/en/docs/build-with-claude/vision
_MOST_CHARS = 16 * 1024 * 1024


class TextWithPictures(str):
    """A text, and `pictures` as data URLs."""

    pictures: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str, pictures: Iterable[str]) -> "TextWithPictures":
        """`text` with `pictures`."""
        result = cls(text)
        result.pictures = tuple(pictures)
        return result


def pictures_of(value: Any) -> tuple[str, ...]:
    """The pictures in what a tool returned."""
    return value.pictures if isinstance(value, TextWithPictures) else ()


def within_bound(pictures: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """The first pictures that are together at most 16 MiB as they are sent, and how many are left out."""
    size = count = 0
    for picture in pictures:
        size += len(picture)
        if size > _MOST_CHARS:
            break
        count += 1
    return pictures[:count], len(pictures) - count


def as_recorded(text: str, pictures: tuple[str, ...]) -> str:
    """A result as the journal has it; a page that a tool has read may have the mark itself."""
    return f"{text}{_MARK}{json.dumps(pictures)}" if pictures or _MARK in text else text


def of_record(recorded: str) -> tuple[str, tuple[str, ...]]:
    """The text and the pictures of a result in the journal."""
    text, mark, pictures = recorded.rpartition(_MARK)
    return (text, tuple(json.loads(pictures))) if mark else (recorded, ())


def without_pictures(recorded: str) -> str:
    """The text of a result in the journal, for people."""
    text, pictures = of_record(recorded)
    return f"{text}\n[with {len(pictures)} picture{'s' * (len(pictures) > 1)}]" if pictures else text


def turn_of(pictures: Iterable[str]) -> Message:
    """A user's turn with pictures. Providers take none in a tool's turn, as in OpenAI's chat completions."""
    parts = [Part.of({"type": "image_url", "image_url": {"url": url}}, "a tool's picture") for url in pictures]
    return Message("user", **in_parts((Part.of_text("The pictures that the tools returned:"), *parts)))
