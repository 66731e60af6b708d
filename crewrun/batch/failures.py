"""Groups failed rows by what went wrong: `fingerprint` says which are alike, `Failures` counts them in bounded memory.

`likely_cause` explains a failure and its remedy. The breaker decides whether failures end the run.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from crewrun.errors import Category
from crewrun.row import ErrorRecord, Row

MOST_GROUPS: Final = 200  # more than anyone reads; bounds the memory when every message differs
OTHERS: Final = "others"

# How much of a message distinguishes failures: its head says what failed, its tail often on which data.
_HEAD_CHARS = 200
# Input values shorter than this, and those after the first 100, are not removed from messages: short ones are often
# ordinary words of the message, and each value costs a search in it.
_FEWEST_CHARS, _MOST_VALUES = 4, 100

# What varies between messages with the same cause, replaced in this order; quotes before what may be inside them.
_VARYING: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"\bthe last one: .*", re.DOTALL), "…"),  # a guardrail's or a model's own words
    (re.compile(r"(\bhttps?://[^/\s'\"<>]+)[^\s'\"<>]*"), r"\1"),
    (re.compile(r"(?<!\w)(['\"`]).*?(?:\1(?!\w)|…|$)|“.*?(?:”|$)", re.DOTALL), "''"),  # unterminated ones too
    (re.compile(r"(?<![\w/])(?:~|\.{1,2})?(?:/[\w.@%+~-]+){2,}"), "/…"),
    (re.compile(r"\b(?:chatcmpl-|(?:req|request|resp|msg|call|run|trace|org|proj|user)_)\w{6,}"), "#"),
    (re.compile(r"\b(?=\w*[a-z])(?=\w*[A-Z])\w{20,}\b"), "#"),  # an id that happens to have no digit
    (re.compile(r"(?<![\w-])[\w-]*\d[\w-]*(?:[.:]\d[\w-]*)*"), "#"),  # numbers, dates, times, uuids, addresses, ids
    (re.compile(r"#(?:[\s,;]+#)+"), "#"),
    (re.compile(r"\s+"), " "),
)

# Each fits after `      → ` on a line of 80 columns.
_CAUSES: Mapping[Category, str] = {
    Category.INPUT: "never sent; mend these lines, or give what they lack: -i NAME=VALUE",
    Category.AUTH: "the API key is missing, wrong or revoked; export a good one, or use .env",
    Category.QUOTA: "no credit left; top the account up in the provider's billing settings",
    Category.MODEL_NOT_FOUND: "the endpoint has no such model; check the model's name and base_url",
    Category.BAD_REQUEST: "the provider does not take the request; check the parameters of the llm",
    Category.CONTEXT_LENGTH: "too long for the model's context; shorten the input, or change the model",
    Category.CONTENT_FILTER: "the provider's policy refused these; change the words or the model",
    Category.RATE_LIMIT: "the provider's limit outlasted all attempts; lower -j or raise --retries",
    Category.TIMEOUT: "a call takes longer than it may; raise --call-timeout, or lower -j",
    Category.NETWORK: "cannot be reached, or hangs up; check base_url, network and proxies",
    Category.SERVER: "the provider failed on its side; run these again later",
    Category.OUTPUT_INVALID: "no usable answer; raise max_tokens, or change the prompt or the schema",
    Category.TOOL: "a tool gave its row up; mend what its message says",
    Category.GUARDRAIL: "a guardrail or hook refused it; see its message, and the task's prompt",
    Category.BUDGET: "it cost all that a row may; raise --row-budget, or look for a loop",
    Category.INTERNAL: "an error in the crew's code, or a bug in crewrun; see the message",
}
# `crew.py:12: ValueError: …`: crewrun's own errors do not begin like this.
_OF_OTHER_CODE: Final = re.compile(r"[^\s:]+\.py:\d+: \w+")
_OF_ALL_ROWS: Final = frozenset({Category.AUTH, Category.QUOTA, Category.MODEL_NOT_FOUND})
# More specific causes, by the error's type or the HTTP status.
_SPECIFIC_CAUSES: Mapping[tuple[Category, str | int | None], str] = {
    (Category.INPUT, "DefinitionError"): "the crew's definition is wrong for these; mend the place that is named",
    (Category.AUTH, 403): "the key may not use this model or address, or a firewall refuses these",
    (Category.CONTEXT_LENGTH, 413): "one request is more than the provider takes; shorten the input",
    (Category.CONTEXT_LENGTH, 429): "more tokens than the account may send at once; shorten the input",
    (
        Category.OUTPUT_INVALID,
        "GenerationFailed",
    ): "its server cannot read what the model writes; simplify tools and schema",
    (Category.TIMEOUT, "RowTimedOut"): "the whole row takes longer than a row may; raise --row-timeout",
    (Category.TIMEOUT, "TaskTimedOut"): "an agent takes longer than its max_execution_time; raise that",
    (Category.NETWORK, "NotRecorded"): "the journal lacks a call of these rows; run them without --replay",
    (Category.NETWORK, "Unreachable"): "cannot work as it is set up; check base_url, certificate and proxy",
    (Category.OUTPUT_INVALID, "BadScore"): "the function has to return a number, True or False, or a mapping of them",
    (Category.OUTPUT_INVALID, "EmptyReply"): "only empty replies or reasoning; raise max_tokens, or change the model",
    (Category.SERVER, 200): "the answer is no whole chat completion; check base_url, then run again",
    (Category.SERVER, 503): "the provider was overloaded or down; run these again later",
    (Category.SERVER, 529): "the provider was overloaded; run these again later, or lower -j",
}


def fingerprint(error: ErrorRecord, inputs: Mapping[str, Any] | None = None) -> str:
    """12 hex digits that are equal for failures with the same cause, in every run.

    They are a digest of category, type, status, task and the head of the message, without the parts that vary: numbers,
    ids, quoted text, paths, and the row's own `inputs`.
    """
    text = f"{error.category}\n{error.type}\n{error.http_status}\n{error.task}\n{_plain(error.message, inputs)}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def likely_cause(error: ErrorRecord, *, others_succeeded: bool = False) -> str:
    """What probably caused `error` and what to do about it, in one sentence.

    Where `others_succeeded` in the same run, a refused key, account or model cannot be the real cause.
    """
    if others_succeeded and error.category in _OF_ALL_ROWS:
        return "other rows succeeded, so these are refused for what their inputs say"
    if error.category is Category.INTERNAL and _OF_OTHER_CODE.match(error.message):
        return "the crew's own code failed, or a library of it; the message says where"
    by_type = _SPECIFIC_CAUSES.get((error.category, error.type))
    return by_type or _SPECIFIC_CAUSES.get((error.category, error.http_status)) or _CAUSES[error.category]


def cause_of(category: Category) -> str:
    """What failures of a category have in common, where their likely causes differ."""
    return _CAUSES[category]


def _plain(message: str, inputs: Mapping[str, Any] | None) -> str:
    if inputs:
        values = {value for value in _values(inputs) if len(value) >= _FEWEST_CHARS and value in message}
        if values:
            longest_first = sorted(values, key=lambda value: (-len(value), value))
            either = "|".join(re.escape(value) for value in longest_first)
            message = re.sub(rf"(?<!\w)(?:{either})(?!\w)", "''", message)
    for varying, instead in _VARYING:
        message = varying.sub(instead, message)
    return message[:_HEAD_CHARS].strip()


def _values(inputs: Mapping[str, Any]) -> Iterator[str]:
    """The texts and numbers of a row, at any depth, as a template writes them."""
    left: list[Any] = [inputs]
    for _ in range(_MOST_VALUES):
        if not left:
            return
        value = left.pop()
        if isinstance(value, Mapping):
            left += reversed(list(value.values()))
        elif isinstance(value, list | tuple):
            left += reversed(value)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            yield str(value).strip()


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures with one cause; the first one is the example. `crewrun retry RUN --only category` runs them again.

    `cause` is the likely cause and its remedy, `index` the example's, `fingerprint` what they have in common. Failures
    without a group of their own have the `type` "others" and no fingerprint: they have only the category in common.
    """

    count: int
    category: Category
    type: str
    task: str | None
    row_id: str
    line: int
    example: ErrorRecord
    cause: str
    index: int
    fingerprint: str


@dataclass(slots=True)
class _Alike:
    count: int
    row_id: str
    line: int
    error: ErrorRecord
    index: int


class Failures:
    """Counts failures by fingerprint, in at most `MOST_GROUPS` groups; the rest is counted by category.

    When all groups are taken, a new cause replaces the oldest one that occurred only once.
    """

    def __init__(self) -> None:
        self._groups: dict[str, _Alike] = {}
        self._once: dict[str, None] = {}  # groups of one failure, oldest first
        self._others: dict[Category, _Alike] = {}

    def add(self, row: Row, error: ErrorRecord) -> None:
        """Count the failure of a row. Its inputs do not distinguish it from other failures."""
        mark = fingerprint(error, row.inputs)
        alike = self._groups.get(mark)
        if alike is not None:
            alike.count += 1
            self._once.pop(mark, None)
            return
        if len(self._groups) >= MOST_GROUPS:
            if not self._once:
                self._add_other(_Alike(1, row.id, row.line, error, row.index))
                return
            oldest = next(iter(self._once))
            del self._once[oldest]
            self._add_other(self._groups.pop(oldest))
        self._groups[mark] = _Alike(1, row.id, row.line, error, row.index)
        self._once[mark] = None

    @property
    def by_category(self) -> dict[Category, int]:
        """How many failures there are of each category."""
        counts: dict[Category, int] = {}
        for alike in (*self._groups.values(), *self._others.values()):
            counts[alike.error.category] = counts.get(alike.error.category, 0) + alike.count
        return counts

    def groups(self, *, others_succeeded: bool = False) -> list[FailureGroup]:
        """All failures, the largest group first; groups of the same size in the order in which they occurred."""

        def group(alike: _Alike, kind: str, task: str | None, mark: str) -> FailureGroup:
            return FailureGroup(
                alike.count,
                alike.error.category,
                kind,
                task,
                alike.row_id,
                alike.line,
                alike.error,
                likely_cause(alike.error, others_succeeded=others_succeeded),
                alike.index,
                mark,
            )

        others = [group(alike, OTHERS, None, "") for alike in self._others.values()]
        own = [group(alike, alike.error.type, alike.error.task, mark) for mark, alike in self._groups.items()]
        return sorted([*own, *others], key=lambda group: -group.count)

    def _add_other(self, alike: _Alike) -> None:
        others = self._others.setdefault(
            alike.error.category, _Alike(0, alike.row_id, alike.line, alike.error, alike.index)
        )
        others.count += alike.count
