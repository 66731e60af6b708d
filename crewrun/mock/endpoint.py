"""What an endpoint of the mock gets of an HTTP request, and how lists are read page by page.

`server` makes a `MockRequest` of each request and sends the `MockReply` that comes back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from crewrun.mock.replies import Refusal


class HttpRequest(Protocol):
    """What the mock reads of aiohttp's request. Most of it is computed when it is asked for."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> Mapping[str, str]: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def match_info(self) -> Mapping[str, str]: ...


class MockRequest(NamedTuple):
    """One HTTP request, its body read."""

    http: HttpRequest
    body: bytes
    peer: tuple[str, int]

    @property
    def id(self) -> str:
        """The id in the path."""
        return self.http.match_info["id"]

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters behind the path."""
        return self.http.query

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, whatever their case."""
        return self.http.headers

    @property
    def origin(self) -> str:
        """The server's address as the client has it."""
        return f"{self.http.scheme}://{self.http.host}"


class Refused(Exception):
    """The request cannot be done; `server` sends `refusal` in the provider's form."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.refusal = Refusal(status, message, reason)


class Listed(Protocol):
    """Something with an id."""

    @property
    def id(self) -> str:
        """Its id, by which the next page is asked for."""


T = TypeVar("T", bound=Listed)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, and whether there is more."""

    things: Sequence[T]
    has_more: bool

    def ends(self, *, reverse: bool = False) -> dict[str, str | bool | None]:
        """The fields of a list's reply that lead to the next page; `reverse`: the reply has them in reverse."""
        first, last = (self.things[0].id, self.things[-1].id) if self.things else (None, None)
        if reverse:
            first, last = last, first
        return {"first_id": first, "last_id": last, "has_more": self.has_more}


def whole_number(query: Mapping[str, str], name: str, usual: int, status: int = 400) -> int:
    """The parameter `name`, a whole number from 0, or `usual` without it. Raises Refused, with `status`."""
    text = query.get(name, str(usual))
    if not (text.isascii() and text.isdigit()):
        raise Refused(status, f"{name}: {text!r} is no whole number")
    return int(text)


def page_of(things: Sequence[T], query: Mapping[str, str], after: str, most: int, usual: int = 20) -> Page[T]:
    """The page of `things` that `query` asks for: `limit` of them, behind the one that the parameter `after` names.

    Raises Refused for a limit above `most`, and for an id that is not in the list.
    """
    limit = whole_number(query, "limit", usual)
    if not 1 <= limit <= most:
        raise Refused(400, f"limit: {limit} is not from 1 to {most}")
    start = 0
    if previous := query.get(after):
        ids = [thing.id for thing in things]
        if previous not in ids:
            raise Refused(400, f"{after}: there is no {previous!r}")
        start = ids.index(previous) + 1
    return Page(things[start : start + limit], len(things) > start + limit)
