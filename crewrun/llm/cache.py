"""`--cache DIR`: answers on disk, for requests that any earlier run made in exactly the same words.

diskcache handles storage, the size limit and concurrent processes; this is the only file that imports it. Entries are
texts: a pickle, which diskcache would load too, is rejected, since it may contain code.
"""

import json
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import anyio.to_thread

from crewrun.errors import UsageError
from crewrun.extras import install_command
from crewrun.llm.turns import decode_turn, encode_turn
from crewrun.messages import Completion, Usage

# How long to wait while another process writes to the cache. A write takes milliseconds; diskcache's own default of 60
# s would hold up a row for longer than a call does.
_TIMEOUT_S = 10.0


class Answers(Protocol):
    """Answers by the identities of their requests, wherever they are stored."""

    async def get(self, identity: bytes) -> Completion | None:
        """The answer to a request, if any. Its usage is zero, since it costs nothing."""
        ...

    async def put(self, identity: bytes, answer: Completion) -> None:
        """Store the answer to a request."""
        ...


class AnswerCache:
    """Answers by the identities of their requests. Errors of the cache do not fail a call: the model is called."""

    def __init__(self, store: Any, path: Path) -> None:
        self._store = store
        self._path = path
        self._before = len(store)
        self._new = 0
        self._counting = Lock()  # protects `_new`, since answers are stored from several threads
        self.hits = 0
        self.problem: str | None = None

    @classmethod
    def open(cls, folder: str, size_bytes: int) -> "AnswerCache":
        """Open the cache in `folder`, of at most `size_bytes`. Raises UsageError if that is not possible."""
        try:
            import diskcache
        except ImportError:
            raise UsageError(f"--cache needs diskcache: {install_command('cache')}") from None

        class Texts(diskcache.Disk):  # type: ignore[misc]  # untyped
            def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> Any:
                if mode == diskcache.core.MODE_PICKLE:
                    raise ValueError("an entry was not written by crewrun")
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
        except Exception as error:  # from SQLite, the system, or anything else about such a folder
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise UsageError(f"--cache {folder}: cannot be used: {reason}") from None

    async def get(self, identity: bytes) -> Completion | None:
        """The answer to a request, if any. Its usage is zero, since it costs nothing."""
        text = await anyio.to_thread.run_sync(self._get, identity.hex())
        if text is None:
            return None
        try:
            answer = decode_turn(json.loads(text), Usage())
        except (ValueError, TypeError):
            self.problem = "an entry cannot be read"
            return None
        self.hits += 1
        return answer

    async def put(self, identity: bytes, answer: Completion) -> None:
        """Store the answer to a request."""
        text = json.dumps(encode_turn(answer))
        await anyio.to_thread.run_sync(self._put, identity.hex(), text)

    def notes(self) -> list[str]:
        """What to tell the user about it at the end of a run."""
        lines = [f"{self.hits:,} calls were answered by the cache {self._path}"] if self.hits else []
        try:
            # Negative if another process has added entries.
            if (evicted := self._before + self._new - len(self._store)) > 0:
                lines.append(
                    f"the cache {self._path} is full: it has dropped the {evicted:,} least recently used answers"
                )
        except Exception as error:
            self.problem = str(error)
        if self.problem:
            lines.append(f"warning: the cache {self._path} did not always work: {self.problem}")
        return lines

    def close(self) -> None:
        """Close the cache."""
        self._store.close()

    def _get(self, key: str) -> Any:
        try:
            return self._store.get(key)
        except Exception as error:
            self.problem = str(error) or type(error).__name__
            return None

    def _put(self, key: str, text: str) -> None:
        try:
            if self._store.add(key, text):
                with self._counting:
                    self._new += 1
        except Exception as error:
            self.problem = str(error) or type(error).__name__
