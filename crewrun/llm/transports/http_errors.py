"""Maps a refused reply's status, body and headers to a CallError, for both transports.

This is the only place that interprets statuses and providers' codes and messages. `error_body` parses a body, and
`refusal_rules` has the table that selects the class.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from crewrun.errors import (
    AuthRefused,
    BadRequest,
    CallError,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from crewrun.limits import rate_headers
from crewrun.llm.transports.error_body import ErrorBody, compact, read_error, read_value
from crewrun.llm.transports.refusal_rules import BY_STATUS, RULES
from crewrun.llm.transports.retry_after import number_of, retry_after, wait_in
from crewrun.redaction.redactor import redact

# A reply that asks to wait, whatever else it says about money, plans or quotas.
_ASKS_TO_WAIT = re.compile(
    r"\b(?:try(?:ing)? again|retry(?:ing)?) (?:in|after)\b|\bper[ -](?:second|minute|hour)\b|/ ?(?:sec|min|hour)\b|"
    r"\b[rtq]p[smh]\b|please wait"
)
_CODES_OF_WAITING = re.compile(r"ratelimit|toomanyrequests|throttl|perminute|persecond|perhour")
# Kimi: "max organization concurrency: 2"; LiteLLM's proxy: "Max parallel request limit"; Z.ai's 1302
_CONCURRENCY = re.compile(
    r"concurren|\bparallel (?:request|call|session)|requests in parallel|\bsimultaneous|\bin[- ]flight\b|"
    r"requests? at (?:once|the same time|a time)|^1302$",
    re.MULTILINE,
)
_OF_A_WINDOW = re.compile(r"\bper[ -](?:second|minute|hour|day)\b|\b[rtq]p[smhd]\b")
_NO_TIME = r"(?!\.?\d| ?(?:s|sec|ms|min))"
_AT_ONCE = (
    re.compile(rf"\b(?:limit|max\w*|allow\w*|up to|at most|only)\b[^\d.;]{{0,40}}?\b(\d{{1,5}})\b{_NO_TIME}"),
    re.compile(r"\b(\d{1,5}) (?:concurrent|parallel|simultaneous|in[- ]flight|requests? (?:at|in parallel))"),
    re.compile(rf"concurren\w*[^\d.;]{{0,20}}\b(\d{{1,5}})\b{_NO_TIME}"),
)
# OpenAI's unsupported_parameter, unsupported_value and unknown_parameter, pydantic's extra_forbidden (vLLM, Mistral)
_CODES_OF_UNSUPPORTED = re.compile(
    r"unsupported|unknown(?:parameter|argument|field|name)|unrecogni[sz]ed|extraforbidden"
)
# Groq: "property 'x' is unsupported"; OpenAI: "Unrecognized request argument supplied: x", "Only the default (1)
# value"; Gemini: "Unknown name \"x\": Cannot find field"; xAI: "does not support parameter x"
_UNSUPPORTED = re.compile(
    r"\bunsupported\b|unrecogni[sz]ed|cannot find field|\bextra (?:inputs|fields)|additional propert|"
    r"\b(?:not|no longer|isn't|aren't) (?:be )?(?:\w+ )?"
    r"(?:supported|permitted|allowed|accepted|available|implemented)\b|"
    r"only the default|\b(?:do|does)(?: not|n't) (?:support|accept|take|allow|have)\b|\bdeprecated\b|"
    r"\b(?:unknown|unexpected) (?:\w+ )?(?:parameter|argument|field|property|name|key)"
)
# A tier without room. OpenAI's flex: 429 "Resource Unavailable"; Groq's: 498 capacity_exceeded; "Capacity of this
# service tier exceeded" (Mistral). https://platform.openai.com/docs/guides/flex-processing#resource-unavailable-errors
_NO_CAPACITY = 498
_STATUSES_OF_CAPACITY = frozenset({429, 498, 503, 529})
_CODES_OF_CAPACITY = re.compile(
    r"(?:resource|capacity)s?(?:temporarily)?unavailable|capacity(?:exceed|exhaust)|nocapacity"
)
_CODES_OF_LIMITS = re.compile(r"rate_?limit|quota|toomanyrequests|perminute|perday|concurren")
_CAPACITY = re.compile(
    r"\bresources?\b[^.]{0,40}\b(?:unavailable|not available)|"
    r"\bcapacity\b[^.]{0,60}\b(?:exceeded|exhausted|unavailable|full|reached)|"
    r"\b(?:no|at|out of|over|insufficient|not enough|lack of)(?: \w+){0,2} capacity\b|"
    r"\bflex\b[^.]{0,60}\b(?:unavailable|not available|overloaded|busy)"
)
# Codes in headers: AWS's "ThrottlingException:http://…", Azure's.
_CODE_HEADERS = ("x-amzn-errortype", "x-ms-error-code")


def failure(status: int, body: bytes, headers: Mapping[str, str]) -> CallError:
    """The error for a reply whose status is not 2xx."""
    return _error(status, read_error(body), headers)


def failure_in(status: int, error: Any, headers: Mapping[str, str]) -> CallError:
    """The error that a 2xx reports in its body, interpreted as if `status` were the HTTP status."""
    return _error(status, read_value({"error": error}), headers)


def _error(status: int, parsed: ErrorBody, raw_headers: Mapping[str, str]) -> CallError:
    headers = {str(name).lower(): str(value) for name, value in raw_headers.items()}
    in_headers = [redact(headers[name].split(":")[0].lower()) for name in _CODE_HEADERS if headers.get(name)]
    codes = parsed.codes.union(in_headers)
    marks = _marks(codes, parsed)
    wait_s = retry_after(headers)
    if wait_s is None:
        wait_s = wait_in(parsed.words) if parsed.wait_s is None else parsed.wait_s
    kind, is_coded = _kind(status, parsed.words if not parsed.is_html else "", marks, asks=wait_s is not None)
    error = kind(f"HTTP {status}: {parsed.detail}", http_status=status, retry_after_s=wait_s)
    error.limits = rate_headers.read(headers)
    error.is_coded, error.param = is_coded, parsed.param
    error.is_unsupported = bool(_CODES_OF_UNSUPPORTED.search(marks) or _UNSUPPORTED.search(parsed.words))
    if isinstance(error, RateLimited):
        error.is_concurrency, error.at_once = _concurrency(parsed.words, marks)
    error.is_for_capacity = _is_for_capacity(status, parsed.words if not parsed.is_html else "", marks)
    error.raw = parsed.generation
    return error


def _marks(codes: frozenset[str], parsed: ErrorBody) -> str:
    """All codes without punctuation, one per line, and two fields whose mere presence is as good as a code."""
    fields = parsed.keys & {"failedgeneration", "flaggedinput"}
    return "\n".join([*(compact(code) for code in codes), *fields])


def _kind(status: int, words: str, marks: str, *, asks: bool) -> tuple[type[CallError], bool]:
    """The class of a refusal, and whether a code determined it."""
    waits = asks or bool(_ASKS_TO_WAIT.search(words) or _CODES_OF_WAITING.search(marks))
    for rule in RULES:
        if status not in rule.statuses or rule.waiting not in (None, waits):
            continue
        if rule.codes and rule.codes.search(marks):
            return rule.kind, True
        if rule.words and words and rule.words(words):
            return rule.kind, False
    return BY_STATUS.get(status) or (ServerError if 500 <= status < 600 else BadRequest), False


def _is_for_capacity(status: int, words: str, marks: str) -> bool:
    """Whether the provider has no room now, whatever the account's limits."""
    if status not in _STATUSES_OF_CAPACITY:
        return False
    if _CODES_OF_CAPACITY.search(marks) or status == _NO_CAPACITY:
        return True
    return not _CODES_OF_LIMITS.search(marks) and bool(_CAPACITY.search(words))


def _concurrency(words: str, marks: str) -> tuple[bool, int | None]:
    """Whether a rate limit concerns requests in flight, and how many it allows."""
    if not (_CONCURRENCY.search(marks) or (_CONCURRENCY.search(words) and not _OF_A_WINDOW.search(words))):
        return False, None
    match = next((match for pattern in _AT_ONCE if (match := pattern.search(words))), None)
    return True, int(match[1]) or None if match else None


# The status to assume for a class if the error has none.
_STATUS_OF: Final[Mapping[type[CallError], int]] = {
    AuthRefused: 401,
    QuotaExhausted: 402,
    ModelNotFound: 404,
    RateLimited: 429,
    ServerError: 503,
}
_STATUS_WORDS: Final = (
    (re.compile(r"rate.?limit|too.?many.?requests|throttl|quota|resource.?exhausted"), 429),
    (re.compile(r"overload|unavailable|capacity"), 503),
    (re.compile(r"time.?out|timed out"), 504),
    (re.compile(r"invalid.?request|bad.?request|invalid.?argument"), 400),
)


# "HTTP 429 from upstream", "Error code: 503 - …", "502 Bad Gateway"
_STATUS_IN_TEXT: Final = re.compile(r"(?:\b(?:code|status|http|error)\b\W{0,3}|^\W{0,2})([45]\d\d)\b", re.IGNORECASE)


def embedded_status(error: Any) -> int | None:
    """The HTTP status that an error inside a 2xx stands for: its own number, else one derived from its codes and words.

    None if they do not tell.
    """
    fields = error if isinstance(error, Mapping) else {}
    inner = fields.get("error")
    for part in (fields, inner if isinstance(inner, Mapping) else {}):
        number = named_status(part)
        if number is not None:
            return number
    if isinstance(error, str) and (in_text := _STATUS_IN_TEXT.search(error)):
        return int(in_text[1])
    parsed = read_value(error)
    marks = _marks(parsed.codes, parsed)
    kind, is_coded = _kind(400, parsed.words, marks, asks=parsed.wait_s is not None)
    if is_coded or kind is not BadRequest:
        return _STATUS_OF.get(kind, 400)
    return next((status for words, status in _STATUS_WORDS if words.search(f"{parsed.words}\n{marks}")), None)


def named_status(fields: Mapping[str, Any]) -> int | None:
    """The error status in one of an object's fields, or None."""
    numbers = (
        _http_status(fields.get(name)) for name in ("code", "status", "status_code", "statusCode", "http_status")
    )
    return next((number for number in numbers if number is not None), None)


def _http_status(value: object) -> int | None:
    """`value` as an error status, None if it is anything else."""
    number = number_of(value)
    return int(number) if number is not None and 400 <= number < 600 else None
