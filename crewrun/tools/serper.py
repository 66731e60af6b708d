"""`SerperDevTool`: Google's results from Serper. https://serper.dev/playground shows requests and replies."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, ClassVar, Literal

import aiohttp
import anyio
import sniffio
from pydantic import BaseModel, Field

from crewrun._version import __version__
from crewrun.llm.endpoints import proxy_for
from crewrun.redaction.redactor import learn, redact
from crewrun.tools.base import BaseTool

_BASE_URL = "https://google.serper.dev"
# Of an error message: a model reads it, and Serper's own take a line.
_SHOWN_REASON_CHARS = 300
# The parts of a reply that a model can use; the rest is pictures, their positions and the request itself.
_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "answerBox": ("title", "answer", "snippet", "link"),
    "knowledgeGraph": ("title", "type", "website", "description", "descriptionLink", "attributes"),
    "organic": ("position", "title", "link", "snippet", "date"),
    "news": ("position", "title", "link", "snippet", "date", "source"),
    "peopleAlsoAsk": ("question", "snippet", "title", "link"),
    "relatedSearches": ("query",),
}


class _Search(BaseModel, extra="forbid"):
    search_query: str = Field(description="What to search for, as one types it into a search engine.")


class SerperDevTool(BaseTool):
    """Searches with the key in `$SERPER_API_KEY`, at `base_url`, `$SERPER_BASE_URL` or Serper's own address.

    `country` and `locale` are Google's `gl` and `hl`, such as `us` and `en`. The result is a dict of the reply's
    sections.
    """

    name: str = "Search the internet with Serper"
    description: str = "Searches the internet and returns titles, addresses and snippets of what was found."
    is_async: ClassVar[bool] = True
    args_schema: type[BaseModel] | None = _Search
    n_results: int = Field(default=10, ge=1, le=100)
    country: str | None = None
    locale: str | None = None
    location: str | None = None
    search_type: Literal["search", "news"] = "search"
    base_url: str | None = None
    request_timeout_s: float = Field(default=30.0, gt=0)

    @property
    def missing_variables(self) -> list[str]:
        """The variable of the key, if it is not set."""
        return [] if _key() else ["SERPER_API_KEY"]

    def _run(self, search_query: str) -> dict[str, Any]:
        with suppress(sniffio.AsyncLibraryNotFoundError):
            raise RuntimeError(f"run() would block the running {sniffio.current_async_library()} loop; await arun()")
        return anyio.run(self._arun, search_query)

    async def _arun(self, search_query: str) -> dict[str, Any]:
        if self.problem:
            raise RuntimeError(self.problem)
        request = {"q": search_query, "num": self.n_results}
        places = {"gl": self.country, "hl": self.locale, "location": self.location}
        try:
            with anyio.fail_after(self.request_timeout_s):
                reply = await self._post({**request, **{name: value for name, value in places.items() if value}})
        except TimeoutError:
            raise TimeoutError(f"Serper gave no reply within {self.request_timeout_s:g} seconds") from None
        sections = {name: part for name in _SECTIONS if (part := _part(reply.get(name), _SECTIONS[name]))}
        kind = "news" if self.search_type == "news" else "organic"
        results = sections.get(kind)
        return {**sections, kind: results[: self.n_results] if isinstance(results, list) else []}

    async def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        base_url = self.base_url or os.environ.get("SERPER_BASE_URL") or _BASE_URL
        url = f"{base_url.rstrip('/')}/{self.search_type}"
        learn([_key()])
        headers = {"X-API-KEY": _key(), "User-Agent": f"crewrun/{__version__}"}
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as session,
                # A redirect would send the key to another host.
                session.post(url, json=body, proxy=proxy_for(url), allow_redirects=False) as response,
            ):
                text = await response.text("utf-8", "replace")
        except aiohttp.ClientError as broken:
            raise ConnectionError(f"Serper cannot be reached at {url}: {broken}") from None
        if response.status != 200:
            raise OSError(f"Serper answered {response.status} {_reason(response.status, text)}")
        reply = _object(text)
        if reply is None:
            raise ValueError(f"what {url} answered is no JSON object")
        return reply


def _key() -> str:
    return os.environ.get("SERPER_API_KEY", "").strip()


def _reason(status: int, text: str) -> str:
    """The status in words, with Serper's own message, such as that the credits are spent."""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    message = (_object(text) or {}).get("message")
    detail = f": {redact(message)[:_SHOWN_REASON_CHARS]}" if isinstance(message, str) else ""
    return phrase + detail


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _part(section: Any, fields: tuple[str, ...]) -> Any:
    """`section`, an object or a list of objects, reduced to `fields`; empty if it is neither."""
    if isinstance(section, dict):
        return {name: section[name] for name in fields if name in section}
    if isinstance(section, list):
        return [_part(entry, fields) for entry in section if isinstance(entry, dict)]
    return None
