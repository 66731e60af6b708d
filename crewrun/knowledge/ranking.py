"""Which passages are nearest to a task: `Ranking`, by the words that they share, with neither a model nor a network.

The ranking is BM25 as SQLite's full-text index has it (https://www.sqlite.org/fts5.html#the_bm25_function): it comes
with Python, needs no numpy, and finds 5 of 2,000 passages in a millisecond.
"""

import re
import sqlite3
import threading
from collections.abc import Sequence
from functools import lru_cache

from crewrun.errors import DefinitionError

# The rarest words of a query say what it is about; more of them cost time and hardly change the order.
_MOST_WORDS = 32
_WORD = re.compile(r"\w+")
# Scripts without blanks between words: every two neighbours are a word.
_UNBROKEN = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_MOST_COUNTS = 1 << 16
# Indexes that stay for crews which are made again for each row.
_MOST_INDEXES = 4


class Ranking:
    """An index over `passages`. Thread-safe; the same for the same passages, on every machine."""

    def __init__(self, passages: Sequence[str]) -> None:
        self._count = len(passages)
        # Protects the connection, which several threads must not use at once.
        self._lock = threading.Lock()
        # Rows of one crew have most of their words in common.
        self._known_count = lru_cache(_MOST_COUNTS)(self._passages_with)
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        try:
            self._db.execute("create virtual table passage using fts5(words, content='', tokenize='porter unicode61')")
        except sqlite3.OperationalError as absent:
            raise DefinitionError(
                f"this Python's SQLite has no full-text search ({absent}), which chooses passages of knowledge; use "
                "another build of Python, or less knowledge: what is small goes into the prompt whole"
            ) from None
        rows = ((i, " ".join(words_of(passage))) for i, passage in enumerate(passages, 1))
        self._db.executemany("insert into passage (rowid, words) values (?, ?)", rows)

    def nearest(self, query: str, limit: int) -> list[int]:
        """The positions of at most `limit` passages, the nearest one first; of equals the earlier one first."""
        words = list(dict.fromkeys(words_of(query)))
        with self._lock:
            counted = [(self._known_count(word), word) for word in words]
            # A word that more than half of the passages have tells none of them apart: its weight is 0.
            telling = sorted((n, word) for n, word in counted if 0 < n <= max(1, self._count // 2))[:_MOST_WORDS]
            if not telling:
                return []
            rows = self._db.execute(
                "select rowid, round(bm25(passage), 9) as distance from passage where words match ? "
                "order by distance, rowid limit ?",
                (" OR ".join(f'"{word}"' for _, word in telling), limit),
            )
            return [position - 1 for position, _ in rows]

    def _passages_with(self, word: str) -> int:
        count = self._db.execute("select count(*) from passage where words match ?", (f'"{word}"',)).fetchone()
        return int(count[0])


@lru_cache(maxsize=_MOST_INDEXES)
def ranking_of(passages: tuple[str, ...]) -> Ranking:
    """The index over `passages`, which is made once."""
    return Ranking(passages)


def words_of(text: str) -> list[str]:
    """The words of `text` in their order, without regard to case; of scripts without blanks every two neighbours."""
    words: list[str] = []
    for word in _WORD.findall(text.casefold()):
        start = 0
        for run in _UNBROKEN.finditer(word):
            words += [part for part in (word[start : run.start()],) if part]
            words += _pairs(run[0])
            start = run.end()
        words += [part for part in (word[start:],) if part]
    return words


def _pairs(run: str) -> list[str]:
    return [run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]
