"""`TextPacks`: what the search of the page looks at: the texts of all rows, cut so that the page stays small."""

from typing import Any, Final

from crewrun.report.packs import PackFile, encoded, pack

ROWS_PER_PACK: Final = 4096
# Of a whole page. With what else it has, a page of a million rows stays below 60 MB.
_BUDGET_BYTES: Final = 20_000_000
_MOST_CHARS: Final = 40_000  # of one row
_LEAST_CHARS: Final = 24
# What a character takes until the first packs tell: gzip makes one byte of three to six, base64 four of three.
_BYTES_PER_CHAR: Final = 0.35


class TextPacks:
    """Puts the texts of rows into packs of `ROWS_PER_PACK`.

    `rows` is how many are expected. Each gets the same share of what is left of the budget; the share follows how well
    the texts before could be compressed. `cut` counts the rows whose texts are not whole.
    """

    def __init__(self, packs: PackFile, rows: int) -> None:
        self._packs = packs
        self._left_rows, self._left_bytes, self._bytes_per_char = rows, float(_BUDGET_BYTES), _BYTES_PER_CHAR
        self._count = self.cut = 0
        self._begin()

    def add(self, own: Any, output: Any, message: str | None, missed: str | None = None) -> None:
        """Add the next row: its own input, its output, why it failed, and why it missed expectations."""
        texts = [searchable(own), searchable(output), message or "", missed or ""]
        pieces = fitted(texts, self._share_chars)
        if pieces != texts:
            self._cut.append(self._count * ROWS_PER_PACK + len(self._inputs))
        self._inputs.append(pieces[0])
        self._outputs.append(pieces[1])
        self._errors.append(None if message is None else pieces[2])
        self._missed.append(None if missed is None else pieces[3])
        self._chars += sum(map(len, pieces))
        if len(self._inputs) == ROWS_PER_PACK:
            self._end()

    def close(self) -> None:
        """End the last pack."""
        if self._inputs:
            self._end()

    def _begin(self) -> None:
        self._inputs: list[str] = []
        self._outputs: list[str] = []
        self._errors: list[str | None] = []
        self._missed: list[str | None] = []
        self._cut: list[int] = []
        self._chars = 0
        share = self._left_bytes / self._bytes_per_char / max(self._left_rows, ROWS_PER_PACK)
        self._share_chars = int(max(_LEAST_CHARS, min(_MOST_CHARS, share)))

    def _end(self) -> None:
        texts: dict[str, Any] = {"input": self._inputs, "output": self._outputs, "error": self._errors}
        texts |= {"missed": self._missed} if any(self._missed) else {}
        texts["cut"] = self._cut
        made = pack(f"texts-{self._count}", [encoded(texts)])
        self._packs.add(made)
        self._count += 1
        self.cut += len(self._cut)
        self._left_rows -= len(self._inputs)
        size_bytes = len(made.content)
        self._left_bytes = max(0.0, self._left_bytes - size_bytes)
        if self._chars:
            self._bytes_per_char = size_bytes / self._chars
        self._begin()


def searchable(value: Any) -> str:
    """A value as text: a text as it is, of an object with a single text only that, anything else as JSON."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(text := next(iter(value.values())), str):
        return text
    if value is None:
        return ""
    return value if isinstance(value, str) else encoded(value).decode()


def fitted(texts: list[str], most_chars: int) -> list[str]:
    """The texts, cut where they have more than `most_chars` characters together: the longest ones first."""
    if sum(map(len, texts)) <= most_chars:
        return texts
    shortest_first = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    cut, left = [*texts], most_chars
    for others, place in zip(range(len(texts) - 1, -1, -1), shortest_first, strict=True):
        cut[place] = texts[place][: left // (others + 1)]
        left -= len(cut[place])
    return cut
