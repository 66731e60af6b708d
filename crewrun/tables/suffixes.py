"""What the suffixes of a table's name mean: `tickets.csv.gz` is CSV, compressed with gzip.

`reading` takes all of them; `writing.output_format` says which are written.
"""

from typing import Final, Literal, NamedTuple

from crewrun.batch_flags import InputFormat

Compression = Literal["gzip", "bzip2", "xz", "zstd"]

COMPRESSIONS: Final[dict[str, Compression]] = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
FORMATS_BY_SUFFIX: Final[dict[str, InputFormat]] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".jsonlines"), "jsonl"),
    ".json": "json",
    ".csv": "csv",
    **dict.fromkeys((".tsv", ".tab"), "tsv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".feather", ".ipc", ".arrows"), "arrow"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "xlsx"),
}


class Suffixes(NamedTuple):
    """A name without its suffixes, its last other suffix in lower case (empty without one), and its compression."""

    stem: str
    suffix: str
    compression: Compression | None


def split_suffixes(name: str) -> Suffixes:
    """The parts of a file's name or path."""
    stem, compression = _split_compression(name)
    base, dot, last = stem.rpartition(".")
    if not dot or not base or "/" in last or base.endswith("/"):
        return Suffixes(stem, "", compression)
    return Suffixes(base, f".{last.lower()}", compression)


def _split_compression(name: str) -> tuple[str, Compression | None]:
    """`name` without the suffix of a compression, and which that is: `a.csv.GZ` → `a.csv`, `gzip`."""
    for suffix, compression in COMPRESSIONS.items():
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], compression
    return name, None
