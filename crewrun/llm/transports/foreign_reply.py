"""`error_of_reply`: the refused reply of a provider that an exception of somebody else's client stands for.

Nothing is imported for that: attributes are read by their names, as the clients of providers, httpx, requests, aiohttp,
litellm, google's libraries and botocore have them.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from crewrun.errors import CallError
from crewrun.llm.transports.http_errors import failure
from crewrun.redaction.redactor import LONGEST_QUOTATION


def links_of(failed: BaseException) -> Iterator[BaseException]:
    """`failed` and all that it was raised from, in handling of or as a group of, outermost first."""
    waiting, seen = [failed], set[int]()
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        context = None if link.__suppress_context__ else link.__context__
        waiting += [inner for inner in (link.__cause__, context, *getattr(link, "exceptions", ())) if inner is not None]


def error_of_reply(link: BaseException) -> CallError | None:
    """The error for the status of the reply that `link` is about, and what that says; None when it has no status."""
    if type(link).__name__ == "APIConnectionError":  # litellm's has a status that nobody replied
        return None
    status = _status(link)
    return None if status is None else failure(status, _body(link), _headers(link))


def _status(link: BaseException) -> int | None:
    response = getattr(link, "response", None)
    found = [getattr(link, name, None) for name in ("status_code", "status", "code", "http_status")]
    found.append(getattr(response, "status_code", None))
    if isinstance(response, Mapping):  # botocore
        found.append((response.get("ResponseMetadata") or {}).get("HTTPStatusCode"))
    return next((s for s in found if isinstance(s, int) and not isinstance(s, bool) and 400 <= s < 600), None)


def _body(link: BaseException) -> bytes:
    """The refused reply's body, else what the exception says."""
    try:
        body = getattr(link, "body", None)
        if isinstance(body, Mapping):  # what a client has made of the `error` in it
            return json.dumps({"error": body}).encode()
        content: Any = getattr(getattr(link, "response", None), "content", None)
    except Exception:  # httpx, of a reply that was not read; or something else under that name
        content = None
    if isinstance(content, bytes) and content:
        return content
    return json.dumps({"error": {"message": str(link)[:LONGEST_QUOTATION]}}).encode()


def _headers(link: BaseException) -> dict[str, str]:
    response = getattr(link, "response", None)
    headers = getattr(response, "headers", None) or getattr(link, "headers", None)
    try:
        return {str(name): str(value) for name, value in dict(headers or {}).items()}
    except (TypeError, ValueError):
        return {}
