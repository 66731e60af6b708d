"""What the suffixes of a table's name mean: `tickets.csv.gz` is CSV, compressed with gzip."""

from typing import Final, Literal, NamedTuple

Compression = Literal["gzip", "zstd"]

COMPRESSIONS: Final[dict[str, Compression]] = {".gz": "gzip", ".zst": "zstd"}


class Suffixes(NamedTuple):
    """A name without its suffixes, its last other suffix in lower case (empty without one), and its compression."""

    stem: str
    suffix: str
    compression: Compression | None


def split_suffixes(name: str) -> Suffixes:
    """The parts of a file's name or path."""
    stem, compression = name, None
    for suffix, method in COMPRESSIONS.items():
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            stem, compression = name[: -len(suffix)], method
    base, dot, last = stem.rpartition(".")
    if not dot or not base or "/" in last or base.endswith("/"):
        return Suffixes(stem, "", compression)
    return Suffixes(base, f".{last.lower()}", compression)
