"""`Names`: numbers in place of the names in entries: models, tasks, agents, tools.

All of them, at most 500, are in memory: each call needs two, and only the writer's thread may query the database.
"""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final

from crewrun.journal.keys import storable

# Roles may contain a row's inputs. Names beyond these limits are stored in full in each entry, so that a million rows
# do not fill the memory.
_MAX_NAMES: Final = 500
_MAX_CHARS: Final = 200


class Names:
    """Numbers for names, starting with those in `entries`. `write` is called with each new pair."""

    def __init__(self, entries: Mapping[int, str], write: Callable[[int, str], None]) -> None:
        self._names = dict(entries)
        self._numbers = {name: number for number, name in entries.items()}
        self._write = write
        self._lock = Lock()  # two threads must not give one number to two names

    def code(self, name: str) -> int | str:
        """The number of `name`, or the name itself when it is too long or there are too many."""
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
