"""`error_of_reply`: the provider's refusal behind an exception from another client.

This needs no imports: attributes are read by the names that the providers' clients, httpx, requests, aiohttp, litellm,
Google's libraries and botocore use.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from crewrun.errors import CallError
from crewrun.llm.transports.http_errors import failure
from crewrun.redaction.redactor import LONGEST_QUOTATION


def links_of(failed: BaseException) -> Iterator[BaseException]:
    """`failed`, its causes and contexts, and the members of exception groups, outermost first."""
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
    """The error for the status and body of the reply that `link` is about; None if it has no status."""
    if type(link).__name__ == "APIConnectionError":  # litellm's has a status although there was no reply
        return None
    status = _status(link)
    return None if status is None else failure(status, _body(link), _headers(link))


def _status(link: BaseException) -> int | None:
    response = getattr(link, "response", None)
    values = [getattr(link, name, None) for name in ("status_code", "status", "code", "http_status")]
    values.append(getattr(response, "status_code", None))
    if isinstance(response, Mapping):  # botocore
        values.append((response.get("ResponseMetadata") or {}).get("HTTPStatusCode"))
    return next((s for s in values if isinstance(s, int) and not isinstance(s, bool) and 400 <= s < 600), None)


def _body(link: BaseException) -> bytes:
    """The body of the refused reply, else one with the exception's message."""
    try:
        body = getattr(link, "body", None)
        if isinstance(body, Mapping):  # the `error` in it, parsed by the client
            return json.dumps({"error": body}).encode()
        content: Any = getattr(getattr(link, "response", None), "content", None)
    except Exception:  # from httpx if the reply was not read, or from an unrelated property of that name
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
