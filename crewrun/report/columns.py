"""Columns of many rows in little memory, each of which is written as JSON piece by piece."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from heapq import nlargest
from math import isfinite, nan
from typing import Any, Final

from crewrun.report.packs import encoded

NO_CODE: Final = -1
_PIECE_ROWS: Final = 1 << 14


class Texts:
    """Texts that mostly differ, such as ids."""

    def __init__(self) -> None:
        self._written = bytearray()

    def add(self, text: str) -> None:
        """Add the text of the next row."""
        if self._written:
            self._written += b","
        self._written += encoded(text)

    def pieces(self) -> Iterator[bytes]:
        """The column as JSON."""
        yield b"["
        yield bytes(self._written)
        yield b"]"


class Numbers:
    """Numbers of at most 53 bits, or None: 8 bytes each."""

    def __init__(self) -> None:
        self._numbers = array("d")

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: float | None) -> None:
        """Add the number of the next row."""
        self._numbers.append(nan if number is None else number)

    def put(self, row: int, number: float) -> None:
        """Replace the number of a row."""
        self._numbers[row] = number

    def fill(self, rows: int) -> None:
        """Add None until there are as many `rows`."""
        self._numbers.extend([nan] * (rows - len(self._numbers)))

    def values(self) -> Iterator[float]:
        """The numbers that are not None."""
        return filter(isfinite, self._numbers)

    def largest(self, most: int) -> list[int]:
        """The rows of the `most` largest numbers above 0, the largest first."""
        numbers = self._numbers
        return nlargest(most, (row for row, number in enumerate(numbers) if number > 0), key=numbers.__getitem__)

    def pieces(self) -> Iterator[bytes]:
        """The column as JSON."""
        yield from _pieces(self._numbers, number_json)


class Codes:
    """Values of which few differ, or None: each is the place of its value in a list, 4 bytes."""

    def __init__(self, values: Sequence[Any] = ()) -> None:
        """`values` have the first codes."""
        self._places = {value: place for place, value in enumerate(values)}
        self._codes = array("i")

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def values(self) -> list[Any]:
        """The values that codes stand for, in their order."""
        return list(self._places)

    def rows_of(self, value: Any) -> list[int]:
        """The rows with this value."""
        code = self._places.get(value)
        return [row for row, own in enumerate(self._codes) if own == code]

    def add(self, value: Any) -> None:
        """Add the value of the next row, anything hashable."""
        self._codes.append(NO_CODE if value is None else self._places.setdefault(value, len(self._places)))

    def fill(self, rows: int) -> None:
        """Add None until there are as many `rows`."""
        self._codes.extend([NO_CODE] * (rows - len(self._codes)))

    def pieces(self) -> Iterator[bytes]:
        """The column as JSON, with values that are JSON."""
        yield b'{"values":' + encoded(self.values) + b',"codes":'
        yield from self.code_pieces()
        yield b"}"

    def code_pieces(self) -> Iterator[bytes]:
        """The codes alone."""
        yield from _pieces(self._codes, str)


class NameSets:
    """Some names for each row, or None: rows with the same ones share a set."""

    def __init__(self) -> None:
        self._sets = Codes([()])

    @property
    def is_empty(self) -> bool:
        """Whether no row has a name."""
        return len(self._sets.values) == 1

    def add(self, names: Sequence[str] | None) -> None:
        """Add the names of the next row, in an order that is the same for the same names."""
        self._sets.add(None if names is None else tuple(names))

    def fill(self, rows: int) -> None:
        """Add None until there are as many `rows`."""
        self._sets.fill(rows)

    def pieces(self) -> Iterator[bytes]:
        """The column as JSON: names, sets of their places, and the place of each row's set."""
        every: list[tuple[str, ...]] = self._sets.values
        places = {name: place for place, name in enumerate(sorted({name for names in every for name in names}))}
        sets = [[places[name] for name in names] for names in every]
        yield b'{"values":' + encoded(list(places)) + b',"sets":' + encoded(sets) + b',"codes":'
        yield from self._sets.code_pieces()
        yield b"}"


def number_json(number: float) -> str:
    """A number as JSON: without a decimal point if it is whole, null if it is NaN or infinite."""
    if not isfinite(number):
        return "null"
    return str(int(number)) if number == int(number) else repr(round(number, 6))


def _pieces(numbers: "array[Any]", word: Callable[[Any], str]) -> Iterator[bytes]:
    yield b"["
    for start in range(0, len(numbers), _PIECE_ROWS):
        comma = "," if start else ""
        yield (comma + ",".join(map(word, numbers[start : start + _PIECE_ROWS]))).encode()
    yield b"]"
