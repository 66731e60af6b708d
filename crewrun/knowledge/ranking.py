"""`Ranking`: the passages nearest to a task by shared words, without a model or the network.

It is BM25 in SQLite's full-text index (https://www.sqlite.org/fts5.html#the_bm25_function), which comes with Python,
needs no numpy, and finds 5 of 2,000 passages in a millisecond.
"""

import re
import sqlite3
import threading
from collections.abc import Sequence
from functools import lru_cache

from crewrun.errors import DefinitionError

# How many of a query's rarest words are searched for. They say what it is about; more take time and hardly change the
# order.
_MAX_WORDS = 32
_WORD = re.compile(r"\w+")
# Scripts without blanks between words: each two neighbouring characters count as a word.
_UNBROKEN = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
# Words whose counts are cached: more than most texts have. An entry takes 180 bytes (tracemalloc), all of them 12 MB.
_MAX_COUNTS = 1 << 16
# How many indexes are cached, for flows that create the same crew for each row.
_MAX_INDEXES = 4


class Ranking:
    """An index over `passages`. Thread-safe; the same for the same passages, on every machine."""

    def __init__(self, passages: Sequence[str]) -> None:
        self._count = len(passages)
        # Protects the connection, which only one thread may use at a time.
        self._lock = threading.Lock()
        # Cached, since the rows of a crew share most of their words.
        self._count_of = lru_cache(_MAX_COUNTS)(self._passages_with)
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
        """The positions of at most `limit` passages, the nearest first, and the earlier of equally near ones first."""
        words = list(dict.fromkeys(words_of(query)))
        with self._lock:
            counts = [(self._count_of(word), word) for word in words]
            # BM25 gives a word that more than half of the passages have a weight of 0.
            rare = sorted((n, word) for n, word in counts if 0 < n <= max(1, self._count // 2))[:_MAX_WORDS]
            if not rare:
                return []
            rows = self._db.execute(
                "select rowid, round(bm25(passage), 9) as distance from passage where words match ? "
                "order by distance, rowid limit ?",
                (" OR ".join(f'"{word}"' for _, word in rare), limit),
            )
            return [position - 1 for position, _ in rows]

    def _passages_with(self, word: str) -> int:
        count = self._db.execute("select count(*) from passage where words match ?", (f'"{word}"',)).fetchone()
        return int(count[0])


@lru_cache(maxsize=_MAX_INDEXES)
def ranking_of(passages: tuple[str, ...]) -> Ranking:
    """The index over `passages`, cached."""
    return Ranking(passages)


def words_of(text: str) -> list[str]:
    """The words of `text` in order, casefolded; in scripts without blanks, each two neighbouring characters."""
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
