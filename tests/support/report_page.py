"""The page of `crewrun report` as data: its head and its packs, as a browser reads them."""

import gzip
import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ReportPage:
    """What a page has: the `head`, the `packs` by name, and every `element` of the markup, in its order."""

    head: dict[str, Any]
    packs: dict[str, Any]
    elements: list[str]

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of all rows, those that are codes as their values."""
        return {name: _values(column) for name, column in self.packs["rows"]["columns"].items()}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, one after another."""
        columns = self.columns
        return [{name: column[i] for name, column in columns.items()} for i in range(self.packs["rows"]["count"])]

    def texts(self, name: str) -> list[Any]:
        """`input`, `output` or `error` of all rows."""
        return [text for pack in self._of("texts") for text in pack[name]]

    @property
    def details(self) -> dict[int, dict[str, Any]]:
        """The details of rows, by their numbers."""
        return {int(row): detail for pack in self._of("details") for row, detail in pack.items()}

    def _of(self, kind: str) -> Iterator[Any]:
        return (self.packs[name] for name in self.packs if name.startswith(f"{kind}-"))


def read_report(path: Path) -> ReportPage:
    """The page at `path`."""
    return parse_report(path.read_bytes())


def parse_report(page: bytes) -> ReportPage:
    """The page that a program got."""
    parser = _Parser()
    parser.feed(page.decode("utf-8"))
    parser.close()
    packs = {name: json.loads(gzip.decompress(b64decode(text))) for name, text in parser.packs.items()}
    return ReportPage(json.loads(parser.head), packs, parser.elements)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.head = ""
        self.packs: dict[str, str] = {}
        self.elements: list[str] = []
        self._place = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append(tag)
        self._place = attributes.get("id") or "" if tag == "script" else ""
        if attributes.get("class") == "pack":
            self.packs[self._place] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._place = ""

    def handle_data(self, data: str) -> None:
        if self._place == "head":
            self.head += data
        elif self._place in self.packs:
            self.packs[self._place] += data


def _values(column: Any) -> list[Any]:
    if isinstance(column, list):
        return column
    if "sets" in column:
        sets = [[column["values"][place] for place in places] for places in column["sets"]]
        return [sets[code] if code >= 0 else None for code in column["codes"]]
    return [column["values"][code] if code >= 0 else None for code in column["codes"]]
