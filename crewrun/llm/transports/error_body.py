"""Parses the body of a refused reply into structured codes, words and a time to wait, without interpreting them.

Formats seen: an object, an array around one (Gemini's OpenAI endpoint), `{"error": "text"}` (xAI, TGI, LM Studio),
problem details, another provider's JSON inside a string (the LiteLLM proxy's `message`, OpenRouter's `metadata.raw`),
the `repr` of one, plain text, HTML from a proxy, and all of these truncated or not in UTF-8.

A refusal may quote the request, and a row's text can contain anything. Quotations are therefore skipped by their keys,
and JSON in a string is read only where proxies put it: as the whole string, or after the name of an error or a status.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import from_json

from crewrun.llm.transports.bodies import MOST_ERROR_BYTES
from crewrun.llm.transports.retry_after import wait_of
from crewrun.redaction.redactor import LONGEST_QUOTATION, redact

# In characters: of a message for people, of the text that is searched for a meaning, and of what the model wrote.
_LONGEST_DETAIL, _LONGEST_WORDS, _LONGEST_GENERATION = 1_000, 8_000, 20_000
# How many values are visited, and how deep JSON in strings is followed: more than any provider nests, and few enough to
# be cheap when many 429s arrive.
_MOST_VALUES: Final = 1_000
_MOST_LAYERS: Final = 3

# Keys are compared without case and punctuation: `errorCode` equals `error_code`.
_PUNCTUATION = re.compile(r"[^a-z0-9]")
_CODE_KEYS = ("code", "type", "status", "reason", "quotaid", "quotalimit", "quotametric")
_TEXT_KEYS = ("message", "msg", "error", "errors", "detail", "details", "description", "title", "raw", "cause", "body")
_WAIT_KEYS = {
    "retryafter": 1.0,
    "retryafterseconds": 1.0,
    "retryafters": 1.0,
    "retrydelay": 1.0,
    "retryafterms": 0.001,
    "xratelimitreset": 1.0,  # OpenRouter, in `metadata.headers`
}
# Keys with parts of the request or of an answer: pydantic's `input` is the whole request, `flagged_input` a row's text.
_QUOTING_KEYS = frozenset(
    {"input", "flaggedinput", "failedgeneration", "messages", "prompt", "content", "tools", "toolcalls", "arguments"}
    | {"request", "delta", "reasoning", "reasoningcontent", "ctx", "finishreason", "nativefinishreason", "stopreason"}
)
_NO_CODES = frozenset({"", "error", "none", "null", "true", "false", "unknown", "object", "blank"})
_CODE = re.compile(r"[\w.:/#-]{1,100}", re.ASCII)
_HTTP_STATUS = re.compile(r"[1-5]\d\d")
# An object in a string, and what proxies write before one: "GeminiException - {…}",
# "Error code: 400 - {'error': …}", "status: 429. {…}", "upstream: b'{…}'", "data: {…}".
_OBJECT = re.compile(r"[{\[]\s{0,20}[{\"']")
_PROXIED = re.compile(
    r"(?:\w(?:Error|Exception)\b|\b[45]\d\d\b|\b[Uu]pstream\b|\b[Pp]rovider\b)[^{}\[\]\"']{0,60}(?:b['\"])?$|^\s*(?:data:|b['\"])?\s*$"
)
_FIELD = re.compile(
    r"['\"](\w{1,40})['\"]\s{0,3}:\s{0,3}(?:'([^'\\]{0,500})'|\"([^\"\\]{0,500})\"|(\d{1,15}(?:\.\d{1,9})?)\b)"
)
_ADDRESS = re.compile(r"\bhttps?://\S+")
_TAG = re.compile(r"<[^<>]{0,500}>")


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """A parsed error. `detail` is the message for people; `words` are all texts in lower case, without URLs, and
    `codes` all structured codes in lower case, except HTTP statuses. `keys` are the keys of all fields, without
    punctuation. `wait_s` is the wait that a field asks for, such as Google's RetryInfo. `generation` is what the model
    wrote, if that caused the error.
    """

    detail: str
    words: str = ""
    codes: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    param: str | None = None
    wait_s: float | None = None
    generation: str | None = None
    is_html: bool = False


def read_error(body: bytes) -> ErrorBody:
    """Parse a reply's body. Never raises."""
    text = body[:MOST_ERROR_BYTES].decode("utf-8-sig", "replace").strip()
    try:
        value = from_json(text, allow_partial="trailing-strings")
    except ValueError:
        value = text
    return read_value(value if isinstance(value, dict | list) else text)


def read_value(value: Any) -> ErrorBody:
    """Parse an error that is already decoded, for instance one inside a 200."""
    is_html = isinstance(value, str) and value.lstrip()[:1] == "<" and "<html" in value[:500].lower()
    findings = _Findings()
    findings.visit("error", _TAG.sub(" ", value) if is_html else value)
    words = _ADDRESS.sub("", " ".join(" ".join(findings.words)[:_LONGEST_WORDS].split())).lower()
    detail = _detail(value, findings.messages) if not is_html else _shown(str(value))
    return ErrorBody(
        detail or "no explanation",
        words,
        frozenset(findings.codes),
        frozenset(findings.keys),
        findings.param,
        findings.wait_s,
        findings.generation,
        is_html,
    )


def compact(name: str) -> str:
    """`name` in lower case without punctuation, so that `rateLimit`, `rate_limit` and `rate-limit` are equal."""
    return _PUNCTUATION.sub("", name.lower())


def _detail(value: Any, messages: list[str]) -> str:
    if not isinstance(value, dict | list):
        return _shown(str(value))
    if not messages:
        try:
            return _shown(json.dumps(value, default=str, ensure_ascii=False)) if value else ""
        except (ValueError, RecursionError):
            return ""
    first, *others = messages
    # OpenRouter: "Provider returned error", with the provider's own message in another field.
    if first.lower().rstrip(".") == "provider returned error" and others:
        first = f"{first}: {others[0]}"
    return redact(first[:_LONGEST_WORDS])[:_LONGEST_DETAIL]


def _shown(text: str) -> str:
    """The beginning of a text without a message, on one line. It is redacted before it is cut, since half a secret is
    harder to recognise.
    """
    return " ".join(redact(text[:_LONGEST_WORDS])[:300].split())


@dataclass(slots=True)
class _Findings:
    """Collects the fields of an `ErrorBody`, value by value, in document order."""

    messages: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    param: str | None = None
    wait_s: float | None = None
    generation: str | None = None

    def visit(self, key: str, value: Any) -> None:
        """Visit `value` and everything inside it, without recursion, since a body may be nested arbitrarily deep."""
        left: list[tuple[str, Any, int]] = [(key, value, 0)]
        for _ in range(_MOST_VALUES):
            if not left:
                return
            key, value, layer = left.pop()
            inner: list[tuple[str, Any, int]] = []
            if isinstance(value, Mapping):
                inner = [(compact(str(name)), part, layer) for name, part in _messages_first(value)]
                self.keys.update(name for name, _, _ in inner)
            elif isinstance(value, list):
                if key == "loc" and value:  # pydantic: ["body", "top_k"]
                    self._look("param", value[-1])
                inner = [(key, part, layer) for part in value]
            elif value is not None and not isinstance(value, bool) and layer < _MOST_LAYERS:
                inner = [(name, part, layer + 1) for name, part in self._look(key, value)]
                self.keys.update(name for name, _, _ in inner)
            left += reversed([part for part in inner if not self._is_quotation(*part)])

    def _is_quotation(self, key: str, value: Any, _: int) -> bool:
        if key == "failedgeneration" and isinstance(value, str):
            self.generation = redact(value[:LONGEST_QUOTATION])[:_LONGEST_GENERATION]
        if key in _WAIT_KEYS and isinstance(value, Mapping):
            self._wait(key, value)
        return key in _QUOTING_KEYS

    def _look(self, key: str, value: Any) -> list[tuple[str, Any]]:
        """Record one text or number. Returns the fields of an object contained in it."""
        text = f"{value:g}" if isinstance(value, float) else str(value)[:MOST_ERROR_BYTES].strip()
        if key == "param":
            self.param = self.param or redact(text[:LONGEST_QUOTATION])[:200] or None
        elif key in _WAIT_KEYS:
            self._wait(key, value)
        elif key.endswith(_CODE_KEYS):
            self._code(text)
        elif key.endswith(_TEXT_KEYS) and text:
            before, fields = _embedded(text)
            self.words.append(before)
            if before or not fields:
                self.messages.append(text)
            return fields
        return []

    def _code(self, text: str) -> None:
        if not _CODE.fullmatch(text):
            self.words.append(text)  # xAI and gRPC put sentences there
            return
        code = re.split(r"[/#]", text.lower().rstrip("/#"))[-1]  # in RFC 9457 it is a URI
        if code not in _NO_CODES and not _HTTP_STATUS.fullmatch(code) and redact(code) == code:
            self.codes.add(code)

    def _wait(self, key: str, value: Any) -> None:
        asked_s = wait_of(value, _WAIT_KEYS[key])
        if asked_s is not None and (self.wait_s is None or asked_s > self.wait_s):
            self.wait_s = asked_s


def _messages_first(fields: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    """The fields, with `message` first, since Spring's `error` is just the status in words. Google's `@type` is left
    out: it names a message type and is not a code.
    """
    named = [(str(name), value) for name, value in fields.items() if not str(name).startswith("@")]
    return sorted(named, key=lambda item: item[0] != "message")


def _embedded(text: str) -> tuple[str, list[tuple[str, Any]]]:
    """The text before another server's object in `text`, and its fields, from JSON, quoted JSON or a `repr`."""
    opening = _OBJECT.search(text) if "{" in text else None
    if opening is None or not _PROXIED.search(text[max(0, opening.start() - 100) : opening.start()]):
        return text, []
    before, rest = text[: opening.start()], text[opening.start() :]
    for attempt in (rest, rest.replace('\\"', '"')):
        try:
            return before, [("error", json.JSONDecoder(strict=False).raw_decode(attempt)[0])]
        except (ValueError, RecursionError):
            continue
    pairs = _FIELD.findall(rest)
    return before, [(compact(name), single or double or number) for name, single, double, number in pairs]
