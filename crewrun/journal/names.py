"""`Names`: numbers in place of the words of every entry: models, tasks, agents.

All are in memory, 500 at most, since each call needs two of them and only the writer's thread may ask the database.
"""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final

from crewrun.journal.keys import storable

# Roles may have a row's inputs in them. Words beyond these limits are stored as they are, so that a million rows do not
# fill the memory.
_MAX_NAMES: Final = 500
_MAX_CHARS: Final = 200


class Names:
    """Numbers for words, beginning with those of `entries`. `write` is called with each new pair."""

    def __init__(self, entries: Mapping[int, str], write: Callable[[int, str], None]) -> None:
        self._names = dict(entries)
        self._numbers = {name: number for number, name in entries.items()}
        self._write = write
        self._lock = Lock()  # two threads must not give one number to two names

    def code(self, name: str) -> int | str:
        """The number of `name`, or the name itself when there are too many."""
        number = self._numbers.get(name)
        if number is not None:
            return number
        name = storable(name)
        if len(self._numbers) >= _MAX_NAMES or len(name) > _MAX_CHARS:
            return name
        with self._lock:
            number = self._numbers.get(name) or len(self._numbers) + 1
            if number not in self._names:
                self._write(number, name)
                self._names[number], self._numbers[name] = name, number
        return number

    def name(self, code: int | str) -> str:
        """The name behind what `code` returned."""
        return code if isinstance(code, str) else self._names[code]
