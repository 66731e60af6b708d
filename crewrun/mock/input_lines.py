"""Reads the lines of a batch job's input file, and says what OpenAI's validation would: by line, with a code."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from crewrun.mock.job import JobLine

_MOST_LINES = 50_000
_MOST_BYTES = 200 * 1024 * 1024
# OpenAI names only the first errors.
_MOST_ERRORS = 50
_CHARS_PER_TOKEN = 4


def read_lines(
    content: bytes, endpoint: str | None, invalid: float | None = None
) -> tuple[list[JobLine], list[dict[str, Any]]]:
    """The lines, and the errors for which the job fails: each has code, line (from 1), message and param.

    `endpoint` is the end of the path that lines name, None if they name none. `invalid` is the number of a line that is
    refused in any case.
    """
    texts = [text for text in content.splitlines() if text.strip()]
    if error := _error_of_file(len(texts), len(content)):
        return [], [error]
    lines: list[JobLine] = []
    errors: list[dict[str, Any]] = []
    ids: set[str] = set()
    model: str | None = None
    for number, text in enumerate(texts, 1):
        try:
            line = _read_line(text, endpoint)
            model = model or line.request.get("model")
            _check_among(line, ids, model)
            if number == invalid:
                raise _InvalidLine("invalid_request", "The fault 'invalid' asked the mock to refuse this line.", "body")
        except _InvalidLine as refused:
            errors.append({"code": refused.code, "line": number, "message": str(refused), "param": refused.param})
            continue
        ids.add(line.custom_id)
        lines.append(line)
    return lines, errors[:_MOST_ERRORS]


def texts_of(request: dict[str, Any]) -> Iterator[str]:
    """The texts of a request in which fault words count, on any wire: all but those of system turns."""
    turns = request.get("messages", request.get("input", request.get("contents")))
    if isinstance(turns, str):
        yield turns
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, str):
            yield turn
        elif isinstance(turn, dict) and turn.get("role") not in ("system", "developer"):
            yield from _texts_in(turn.get("content", turn.get("parts")))


def prompt_tokens(lines: Iterable[JobLine]) -> int:
    """The length of the lines' prompts in tokens, roughly: what counts as enqueued."""
    return sum(max(1, sum(map(len, texts_of(line.request))) // _CHARS_PER_TOKEN) for line in lines)


def _texts_in(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part["text"]


class _InvalidLine(Exception):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


def _error_of_file(count: int, size_bytes: int) -> dict[str, Any] | None:
    if not count:
        code, message = (
            "empty_file",
            "The input file is empty. Please ensure that the batch contains at least one request.",
        )
    elif count > _MOST_LINES:
        code, message = "too_many_requests", f"The input file has {count} requests, more than {_MOST_LINES}."
    elif size_bytes > _MOST_BYTES:
        code, message = "file_too_large", f"The input file has {size_bytes} bytes, more than {_MOST_BYTES}."
    else:
        return None
    return {"code": code, "line": None, "message": message, "param": None}


def _read_line(text: bytes, endpoint: str | None) -> JobLine:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        raise _InvalidLine("invalid_json_line", "This line is not parseable as valid JSON.") from None
    if not isinstance(line, dict):
        raise _InvalidLine("invalid_json_line", "This line is not a JSON object.")
    address = () if endpoint is None else (("method", str), ("url", str))
    for param, kind in (("custom_id", str), *address, ("body", dict)):
        if not isinstance(line.get(param), kind) or not line[param]:
            raise _InvalidLine("missing_required_parameter", f"Missing or wrong required parameter: {param!r}.", param)
    if endpoint is not None and line["method"] != "POST":
        raise _InvalidLine("invalid_method", f"The method must be POST, not {line['method']!r}.", "method")
    if endpoint is not None and not line["url"].endswith(f"/{endpoint}"):
        message = f"The URL provided for this request does not match the batch endpoint {endpoint!r}."
        raise _InvalidLine("invalid_url", message, "url")
    return JobLine(line["custom_id"], line["body"])


def _check_among(line: JobLine, ids: set[str], model: str | None) -> None:
    if line.custom_id in ids:
        message = (
            f"The custom_id {line.custom_id!r} for this request is a duplicate of another request. "
            "The custom_id parameter must be unique for each request in a batch."
        )
        raise _InvalidLine("duplicate_custom_id", message, "custom_id")
    if line.request.get("model") != model:
        message = (
            f"The provided model {line.request.get('model')!r} does not match the model of the batch {model!r}. "
            "Please ensure that all requests in the batch use the same model."
        )
        raise _InvalidLine("mismatched_model", message, "model")
