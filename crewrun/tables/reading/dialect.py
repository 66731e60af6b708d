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
_NEAR: Final = 0.1  # candidates that fit about equally well
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
        _check_tabs(head, name)
        return Dialect("\t")
    head = _whole_lines(head)
    fits = [fit for delimiter in _NAMES if (fit := _fit(head, delimiter)) is not None]
    if not fits:
        return Dialect(",")
    best = max(fit.share for fit in fits)
    good = [fit for fit in fits if fit.share == best or (fit.share >= min(best, _FITTING) and best - fit.share < _NEAR)]
    columns = max(fit.columns for fit in good)
    good = sorted((fit for fit in good if 2 * fit.columns > columns), key=lambda fit: -fit.share)  # a comma stays first
    tabbed = next((fit.dialect for fit in good if fit.dialect.delimiter == "\t" and fit.share == 1), None)
    if tabbed is not None:
        return tabbed  # texts have commas and semicolons, and hardly ever tabs, let alone one in each line
    if len(good) > 1:
        first, second = (fit.dialect for fit in good[:2])
        raise UsageError(
            f"{name}: may have {first.label} or {second.label} between its fields; say which: "
            f"--delimiter {_word(first)} or --delimiter {_word(second)}"
        )
    return good[0].dialect


def _check_tabs(head: str, name: str) -> None:
    """Raise UsageError for a text without tabs in which something else separates fields."""
    if "\t" in head:
        return
    for delimiter in _NAMES:
        fit = _fit(_whole_lines(head), delimiter)
        if fit is not None and fit.records > 1 and fit.share == 1:
            raise UsageError(
                f"{name}: has no tabs, but {fit.dialect.label} that may separate fields: "
                f"--delimiter {_word(fit.dialect)}; if it has one column: --delimiter tab"
            )


def check_fit(head: str, dialect: Dialect, name: str) -> None:
    """Raise UsageError when nearly none of the records that begin a text fit its header: the dialect, which nobody has
    named, is none that the text has.
    """
    header, *records = dialect.reads(_whole_lines(head))[dialect.has_sep_line :] or [[]]
    records = [fields for fields in records if fields]  # others are broken, and say so
    columns = len(header)
    misfits = sum(len(fields) != columns and any(fields[columns:] or [True]) for fields in records)
    if columns == 1 and misfits > len(records) * (1 - _FITTING):
        raise UsageError(
            f"{name}: its header names one column, but there are {dialect.label} in {misfits} of its first "
            f"{_counted(records)}; put such values in quotes, or have each line taken as one value: --delimiter tab"
        )
    if misfits > 1 and misfits > len(records) * _FITTING:
        raise UsageError(
            f"{name}: has {columns} names in its header, but other numbers of fields in {misfits} of its first "
            f'{_counted(records)}, with {dialect.label} between them and " around texts; if it is something else that '
            'separates fields: --delimiter; other quotes have to be written as "'
        )


def _counted(records: list[list[str]]) -> str:
    return f"{len(records)} record{'s' if len(records) != 1 else ''}"


def _whole_lines(head: str) -> str:
    """`head` without its last line, which may be cut off."""
    return head[: max(head.rfind("\n"), head.rfind("\r")) + 1] or head


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
