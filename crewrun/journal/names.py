"""`Names`: words that come in every entry, models, tasks and agents, each kept once and known by a number."""

from collections.abc import Callable, Mapping
from threading import Lock

from crewrun.journal.keys import storable

# Roles may have a row's inputs in them: words beyond these are kept as they are, so a million rows fill no memory.
_MOST = 500
_LONGEST_CHARS = 200


class Names:
    """Numbers for words. `keep` is told each new pair."""

    def __init__(self, known: Mapping[int, str], keep: Callable[[int, str], None]) -> None:
        self._names = dict(known)
        self._numbers = {name: number for number, name in known.items()}
        self._keep = keep
        self._lock = Lock()  # two threads must not give one number to two names

    def code(self, name: str) -> int | str:
        """The number of `name`, or itself when there are too many."""
        number = self._numbers.get(name)
        if number is not None:
            return number
        name = storable(name)
        if len(self._numbers) >= _MOST or len(name) > _LONGEST_CHARS:
            return name
        with self._lock:
            number = self._numbers.get(name) or len(self._numbers) + 1
            if number not in self._names:
                self._keep(number, name)
                self._names[number], self._numbers[name] = name, number
        return number

    def name(self, code: int | str) -> str:
        """What `code` was given for."""
        return code if isinstance(code, str) else self._names[code]
