"""What `--cache` says at the end of a run."""

from pathlib import Path

import pytest

from crewrun.llm.cache import AnswerCache
from crewrun.messages import Completion, Usage

pytestmark = pytest.mark.anyio
IDENTITIES = [bytes([n]) * 16 for n in range(5)]


class Store(dict[str, str]):
    """A store that drops its oldest answers when it has more than `most`."""

    most = 3

    def add(self, key: str, text: str) -> bool:
        is_new = key not in self
        self[key] = text
        while len(self) > self.most:
            del self[next(iter(self))]
        return is_new


async def test_a_cache_says_what_it_answered_and_what_it_dropped() -> None:
    """Two answers were there before, five came, and three are left."""
    store = Store({"a": "", "b": ""})
    cache = AnswerCache(store, Path("cache"))
    assert cache.notes() == []
    for identity in IDENTITIES:
        await cache.put(identity, Completion("hi", Usage(10, 0, 2)))
        await cache.put(identity, Completion("hi", Usage(10, 0, 2)))  # it is there: not counted again
    answer = await cache.get(IDENTITIES[4])
    assert answer is not None
    assert (answer.text, answer.usage) == ("hi", Usage())
    assert await cache.get(IDENTITIES[0]) is None
    assert cache.notes() == [
        "1 calls were answered by the cache cache",
        "the cache cache is full: it has dropped the 4 least recently used answers",
    ]
    store.clear()
    store["broken"] = ""
    store[IDENTITIES[0].hex()] = "no JSON"
    assert await cache.get(IDENTITIES[0]) is None
    assert cache.notes()[-1] == "warning: the cache cache did not always work: an entry cannot be read"


async def test_answers_of_other_processes_are_not_counted_as_dropped() -> None:
    """They make the number negative."""
    store = Store()
    cache = AnswerCache(store, Path("cache"))
    store["a"] = ""
    assert cache.notes() == []
