"""`--cache DIR`: answers on disk, for requests that any run made before in exactly the same words.

diskcache does the storage, the bound on its size and what several processes need; this is the only file that imports
it. Entries are texts: a pickle, which diskcache would load as well, is refused, since it may hold code.
"""

import json
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import anyio.to_thread

from crewrun.errors import UsageError
from crewrun.llm.turns import decode_turn, encode_turn
from crewrun.messages import Completion, Usage

# How long one that another process writes to is waited for.
_TIMEOUT_S = 10.0


class Answers(Protocol):
    """Answers by their requests' identities, wherever they are kept."""

    async def get(self, identity: bytes) -> Completion | None:
        """The answer to a request, None when it is not there. It has no usage: it costs nothing."""
        ...

    async def put(self, identity: bytes, answer: Completion) -> None:
        """Keep the answer to a request."""
        ...


class AnswerCache:
    """Answers by their requests' identities. A cache that fails is no failure: what it cannot give is asked for."""

    def __init__(self, store: Any, path: Path) -> None:
        self._store = store
        self._path = path
        self._before = len(store)
        self._new = 0
        self._counting = Lock()  # answers are kept in several threads
        self.hits = 0
        self.problem: str | None = None

    @classmethod
    def open(cls, folder: str, size_bytes: int) -> "AnswerCache":
        """The cache in `folder`, of at most `size_bytes`. Raises UsageError when there can be none."""
        try:
            import diskcache
        except ImportError:
            raise UsageError("--cache needs diskcache: pip install 'crewrun[cache]'") from None

        class Texts(diskcache.Disk):  # type: ignore[misc]  # untyped
            def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> Any:
                if mode == diskcache.core.MODE_PICKLE:
                    raise ValueError("an entry is not of crewrun's making")
                return super().fetch(mode, filename, value, read)

        path = Path(folder)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            store = diskcache.Cache(
                str(path),
                timeout=_TIMEOUT_S,
                disk=Texts,
                size_limit=size_bytes,
                eviction_policy="least-recently-used",
            )
            return cls(store, path)
        except Exception as wrong:  # SQLite's, the system's, or whatever else such a folder may bring about
            raise UsageError(f"--cache {folder}: cannot be used: {wrong}") from None

    async def get(self, identity: bytes) -> Completion | None:
        """The answer to a request, None when it is not there. It has no usage: it costs nothing."""
        kept = await anyio.to_thread.run_sync(self._get, identity.hex())
        if kept is None:
            return None
        try:
            answer = decode_turn(json.loads(kept), Usage())
        except (ValueError, TypeError):
            self.problem = "an entry cannot be read"
            return None
        self.hits += 1
        return answer

    async def put(self, identity: bytes, answer: Completion) -> None:
        """Keep the answer to a request."""
        kept = json.dumps(encode_turn(answer))
        await anyio.to_thread.run_sync(self._put, identity.hex(), kept)

    def notes(self) -> list[str]:
        """What the user should know of it at the end of a run."""
        said = [f"{self.hits:,} calls were answered by the cache {self._path}"] if self.hits else []
        try:
            # Less than nothing is gone when another process has added to it.
            if (gone := self._before + self._new - len(self._store)) > 0:
                said.append(f"the cache {self._path} is full: {gone:,} answers that were not used for longest are gone")
        except Exception as wrong:
            self.problem = str(wrong)
        if self.problem:
            said.append(f"warning: the cache {self._path} did not work all the time: {self.problem}")
        return said

    def close(self) -> None:
        """Close it."""
        self._store.close()

    def _get(self, key: str) -> Any:
        try:
            return self._store.get(key)
        except Exception as wrong:
            self.problem = str(wrong) or type(wrong).__name__
            return None

    def _put(self, key: str, kept: str) -> None:
        try:
            if self._store.add(key, kept):
                with self._counting:
                    self._new += 1
        except Exception as wrong:
            self.problem = str(wrong) or type(wrong).__name__
