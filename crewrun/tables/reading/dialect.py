"""Finds out what separates the fields of a delimited text, by parsing its beginning with each candidate."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from crewrun.errors import UsageError

# A comma first: of candidates that fit equally well, it is the one that the format is named after.
_NAMES: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
_RECORDS: Final = 500  # of the beginning that are parsed
# Records that may have more or fewer fields than the header, in a file that has broken ones.
_FITTING: Final = 0.9
_SEP_LINE: Final = re.compile(r"\ufeff?\"?sep=(.)\"?[;,\t|]*\r?\n", re.IGNORECASE)
_WORDS: Final = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


@dataclass(frozen=True, slots=True)
class Dialect:
    """`has_sep_line`: the first line is Excel's `sep=`, and no header. `skips_blanks`: fields begin behind a blank."""

    delimiter: str
    has_sep_line: bool = False
    skips_blanks: bool = False

    @property
    def label(self) -> str:
        """What separates fields, in words."""
        return _NAMES.get(self.delimiter, repr(self.delimiter))

    def reads(self, text: str) -> list[list[str]]:
        """The first records of `text`, without blank lines. A record that is no CSV is `[]`."""
        records: list[list[str]] = []
        parser = parser_of(self, io.StringIO(text, newline=""))
        while len(records) < _RECORDS:
            try:
                fields = next(parser)
            except csv.Error as wrong:
                if "unexpected end of data" not in str(wrong):
                    records.append([])
                continue
            except StopIteration:
                break
            if fields:
                records.append(fields)
        return records


def parser_of(dialect: Dialect, lines: Iterable[str]) -> Any:
    """Python's CSV parser, strict: what is not CSV is an error and not a guess."""
    return csv.reader(lines, delimiter=dialect.delimiter, skipinitialspace=dialect.skips_blanks, strict=True)


def parse_delimiter(text: str) -> str:
    """The delimiter that `--delimiter` names. Raises UsageError."""
    delimiter = _WORDS.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UsageError(f"--delimiter {text!r}: one character, such as ';' or '|', or tab")
    return delimiter


def has_sep_line(head: str) -> bool:
    """Whether a text begins with the line that tells Excel the delimiter: `sep=;`."""
    return _SEP_LINE.match(head) is not None


def find_dialect(head: str, name: str, *, tabs: bool) -> Dialect:
    """The dialect of a text that begins with `head`. `tabs`: the name of its format says that tabs separate fields.

    A single column is legal: its dialect is the default one. Raises UsageError when two candidates fit equally well.
    """
    if named := _SEP_LINE.match(head):
        return Dialect(named.group(1), has_sep_line=True)
    if tabs:
        return Dialect("\t")
    head = head[: max(head.rfind("\n"), head.rfind("\r")) + 1] or head  # the last line may be cut off
    fits = [fit for delimiter in _NAMES if (fit := _fit(head, delimiter)) is not None]
    fits.sort(key=lambda fit: fit.share, reverse=True)  # stable: a comma stays before others
    if not fits:
        return Dialect(",")
    best = fits[0]
    for other in fits[1:]:
        if other.share >= min(best.share, _FITTING) and best.share - other.share < 1 - _FITTING:
            if best.columns >= 2 * other.columns:
                continue
            if other.columns >= 2 * best.columns:
                best = other
                continue
            raise UsageError(
                f"{name}: may have {best.dialect.label} or {other.dialect.label} between its fields; say which: "
                f"--delimiter {_word(best.dialect)} or --delimiter {_word(other.dialect)}"
            )
    return best.dialect


def has_table(head: str) -> bool:
    """Whether a text that nothing says what it is is certainly a delimited one: two records of equally many fields."""
    head = head[: head.rfind("\n") + 1]
    if _SEP_LINE.match(head):
        return True
    return any(
        fit.records > 1 and fit.share >= _FITTING for delimiter in _NAMES if (fit := _fit(head, delimiter)) is not None
    )


@dataclass(frozen=True, slots=True)
class _Fit:
    """How many columns a candidate gives the header, and the share of the records that have as many fields."""

    dialect: Dialect
    columns: int
    records: int
    share: float


def _fit(head: str, delimiter: str) -> _Fit | None:
    """How well a delimiter fits; None when it is not in the header. Some write a blank before a quote."""
    fit = _measure(head, Dialect(delimiter))
    if (fit is None or fit.share < 1) and f'{delimiter} "' in head:
        padded = _measure(head, Dialect(delimiter, skips_blanks=True))
        if padded is not None and (fit is None or padded.share > fit.share):
            return padded
    return fit


def _measure(head: str, dialect: Dialect) -> _Fit | None:
    records = dialect.reads(head)
    if not records or len(records[0]) < 2:
        return None
    columns = len(records[0])
    fitting = sum(len(fields) == columns or (len(fields) > columns and not any(fields[columns:])) for fields in records)
    return _Fit(dialect, columns, len(records), fitting / len(records))


def _word(dialect: Dialect) -> str:
    return {"\t": "tab", ",": ","}.get(dialect.delimiter, f"'{dialect.delimiter}'")
