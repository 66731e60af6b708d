"""Which prefix a request shares with others, by a hash of it: `PrefixFinder`.

The prefix is what a cache can have of it: at providers that cache by themselves, as many bytes from the beginning as
the shortest one that is cached; at those with breakpoints, tools and system turns. Whether rows share it is not asked
of templates: requests that do have the same hash.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from crewrun.llm.prompt_cache.rules import CacheRules
from crewrun.messages import ChatRequest, Message, ReplySchema, ToolSpec

_SYSTEM: Final = ("system", "developer")
# Prefixes whose hash is remembered. A crew has one for each agent; those with a row's values in them come once.
_MOST_REMEMBERED: Final = 128

_Place = tuple[bytes, tuple[ToolSpec, ...], ReplySchema | None, int]


class PrefixFinder:
    """Finds the prefixes of requests. Comparing a prefix with the one before it is faster than hashing it again."""

    def __init__(self) -> None:
        self._latest: dict[_Place, tuple[str, bytes]] = {}

    def find(self, request: ChatRequest, rules: CacheRules) -> bytes | None:
        """16 bytes for the prefix of `request`, None if it is too short to be cached."""
        needed = rules.least_bytes
        if request.tools or request.schema is not None:
            needed -= described_bytes(request.tools, request.schema)
        messages = system_turns(request.messages) if rules.marks else request.messages
        if not _has_bytes(messages, needed):
            return None
        text = "\0".join([message.content for message in messages]) if len(messages) != 1 else messages[0].content
        if not rules.marks:
            text = text[: max(0, needed)]
        place = rules.scope, request.tools, request.schema, len(text)
        latest = self._latest.get(place)
        if latest is not None and latest[0] == text:
            return latest[1]
        digest = _digest(rules.scope, request, text)
        if len(self._latest) >= _MOST_REMEMBERED:
            self._latest.clear()
        self._latest[place] = text, digest
        return digest


def system_turns(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The turns that the messages begin with and that tell the model its role."""
    count = 0
    while count < len(messages) and messages[count].role in _SYSTEM:
        count += 1
    return messages[:count]


# Toolboxes and schemas are made once for many rows, so a run has a few hundred at most.
@lru_cache(maxsize=512)
def described_bytes(tools: tuple[ToolSpec, ...], schema: ReplySchema | None) -> int:
    """About how many bytes tools and schema add to a prompt."""
    return len(_described(tools, schema)) if tools or schema is not None else 0


def _has_bytes(messages: tuple[Message, ...], needed: int) -> bool:
    """Whether their text has at least `needed` bytes. Images are not counted: they are mostly a row's own."""
    if sum([len(message.content) for message in messages]) >= needed:
        return True
    return sum([_bytes(message.content) for message in messages]) >= needed


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


@lru_cache(maxsize=512)
def _described(tools: tuple[ToolSpec, ...], schema: ReplySchema | None) -> bytes:
    about = [(tool.name, tool.description, str(tool.parameters)) for tool in tools]
    return str((about, str(schema.schema) if schema is not None else "")).encode("utf-8", "surrogatepass")


def _digest(scope: bytes, request: ChatRequest, text: str) -> bytes:
    digest = blake2b(scope, digest_size=16)
    digest.update(_described(request.tools, request.schema))
    digest.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    return digest.digest()
