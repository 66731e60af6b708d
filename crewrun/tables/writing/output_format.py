"""`OutputFormat`: as what results are written, from the name of their file and `--output-format`.

`writers` writes each of them.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, NamedTuple, get_args

from crewrun.batch_flags import ResultsFormat
from crewrun.errors import UsageError
from crewrun.extras import install_command
from crewrun.tables.suffixes import COMPRESSIONS, FORMATS_BY_SUFFIX, Compression, split_suffixes

FORMATS: Final[tuple[ResultsFormat, ...]] = get_args(ResultsFormat)

# Suffixes of tables that are not written. JSONL under such a name would look like a damaged file.
_FOREIGN: Final = (
    *(".xls", ".xlsm", ".xlsb", ".ods", ".numbers", ".arrow", ".arrows", ".feather", ".ipc", ".orc", ".avro"),
    *(".db", ".sqlite", ".duckdb", ".html", ".md", ".xml", ".zip"),
)
_ENDINGS: Final = ".jsonl, .csv, .tsv, .parquet or .xlsx"
# Their files are compressed inside.
_COMPRESSED: Final = ("parquet", "xlsx")


class _Needed(NamedTuple):
    module: str
    package: str
    extra: str


_NEEDED: Final = {
    "parquet": _Needed("pyarrow", "pyarrow", "parquet"),
    "xlsx": _Needed("xlsxwriter", "XlsxWriter", "excel"),
    "zstd": _Needed("zstandard", "zstandard", "zstd"),
}


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """A format and how its file is compressed. Its text, such as `csv.gz`, is what a run's manifest keeps."""

    name: ResultsFormat
    compression: Compression | None = None

    def __str__(self) -> str:
        return self.name + next((suffix for suffix, kind in COMPRESSIONS.items() if kind == self.compression), "")

    @property
    def is_plain(self) -> bool:
        """Whether it is the JSONL that a run appends to."""
        return self == PLAIN

    @property
    def is_binary(self) -> bool:
        """Whether it is of no use on a terminal."""
        return self.compression is not None or self.name in _COMPRESSED

    def check_installed(self, output: str) -> None:
        """Raise UsageError, with the command that installs it, when a library that writes `output` is missing."""
        for key in (self.name, self.compression):
            needed = _NEEDED.get(key or "")
            if needed is not None and find_spec(needed.module) is None:
                raise UsageError(f"{output}: {self} needs {needed.package}: {install_command(needed.extra)}")


PLAIN: Final = OutputFormat("jsonl")


def output_format(output: str | None, name: str | None) -> OutputFormat:
    """The format of the results in `output` (None: a stream), `name` being the one that the user asked for.

    Names of no known suffix are JSONL. Raises UsageError for a suffix of another kind of table, and for a format that
    is not compressed once more.
    """
    suffixes = split_suffixes(output or "")
    if name is None and suffixes.suffix in _FOREIGN:
        raise UsageError(f"{output}: {suffixes.suffix} cannot be written; name a file that ends in {_ENDINGS}")
    form = parse_format(name) if name is not None else _format_of(suffixes.suffix)
    if suffixes.compression is not None and form in _COMPRESSED:
        ending = (output or "")[len(suffixes.stem) + len(suffixes.suffix) :]
        raise UsageError(f"{output}: {form} is compressed inside already; name a file without {ending}")
    return OutputFormat(form, suffixes.compression)


def parse_format(name: str) -> ResultsFormat:
    """The format of this name. Raises UsageError."""
    for form in FORMATS:
        if form == name:
            return form
    raise UsageError(f"{name!r}: is no format of results; one of {', '.join(FORMATS)}")


def parse_stored(text: str) -> OutputFormat:
    """The format that a manifest keeps as `text`. Raises UsageError for one that this crewrun does not know."""
    name, dot, ending = text.partition(".")
    suffixes = split_suffixes(f"x.{name}{dot}{ending}")
    return OutputFormat(parse_format(name), suffixes.compression)


def _format_of(suffix: str) -> ResultsFormat:
    """JSONL for any suffix that says nothing, and for `.json`."""
    named = FORMATS_BY_SUFFIX.get(suffix, "jsonl")
    return next((form for form in FORMATS if form == named), "jsonl")
