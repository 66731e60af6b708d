"""Every error of crewrun, one tree.

    CrewrunError
    ├── UsageError            a flag, a file or a variable is wrong           exit 2
    │   └── ModelRefused          an llm asks for what its provider does not have
    ├── DefinitionError       the crew is wrong; a ValueError too             exit 2
    ├── RunHeld               another process is writing these results        exit 75
    ├── OutputFailed          the results can no longer be written            exit 1
    │   └── JournalFailed     the journal can no longer be written
    ├── JournalDamaged        the journal cannot be read                      exit 2
    ├── OutputClosed          the reader of the results is gone               exit 141
    ├── RunStopped            neither this call nor any other can be made     exit 4
    │   ├── EndpointRefused       a key, an account or a model that does not work
    │   ├── OutageTooLong         no answer for longer than --outage-patience
    │   ├── Interrupted           a signal, while a call blocked the event loop   exit 130
    │   ├── WaitTooLong           a Retry-After of more than ten minutes
    │   └── BudgetExhausted       the next call may not fit into --budget     exit 5, category budget
    ├── InputInvalid          this row's inputs are wrong                     category input
    ├── RowBudgetExceeded     the row has used up its --row-budget            category budget
    ├── RowTimedOut           the row took longer than --row-timeout          category timeout
    ├── TaskTimedOut          an agent took longer than max_execution_time,
    │                         a TimeoutError too                              category timeout
    ├── ToolFailed            a tool ends its row                             category tool
    ├── GuardrailFailed       no answer passed a task's guardrail             category guardrail
    ├── HookAborted           a hook forbids the call                         category guardrail
    │   └── LLMCallBlockedError   a before_llm_call hook returned False
    └── CallError             a model call failed
        ├── NotRecorded       --replay, and the journal has no such call      category network
        ├── Unreachable       a certificate, proxy or header that cannot work    category network
        ├── AuthRefused       401, 403, no key                                category auth
        ├── QuotaExhausted    402, a code such as insufficient_quota          category quota
        ├── ModelNotFound     404                                             category model_not_found
        ├── BadRequest        other 4xx                                       category bad_request
        │   ├── ToolsRefused      the model takes no tools
        │   └── SchemaRefused     the model takes no schema for its reply
        ├── ContextTooLong    the prompt does not fit the model               category context_length
        ├── ContentFiltered   the provider's policy refused it                category content_filter
        ├── CustomModelFailed the code of a user's own model raised           category internal
        ├── BatchJobFailed    a batch job that brought no answer              category server
        ├── OutputInvalid     an answer that cannot be used                   category output_invalid
        │   └── EmptyReply        no answer at all, also a TransientError
        └── TransientError    worth another attempt
            ├── RateLimited   429                                             category rate_limit
            ├── CallTimedOut  408, or no reply within --call-timeout          category timeout
            ├── NetworkError  refused, reset, name not found                  category network
            ├── ServerError   409, 424, 425, 498, 499, 5xx, not a completion  category server
            ├── NoCapacity    the flex tier has no room for the call now         category server
            └── GenerationFailed  the model wrote what its server cannot read   category output_invalid

    ForEachError              an ExceptionGroup: some inputs of a for-each failed
    CrewrunWarning            a UserWarning: something in a crew has no effect

A row's failure is data: `category` goes into its error record, and only those above InputInvalid ever stop a run.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, ClassVar, Self, TypeVar

from crewrun.messages import RateLimits, Usage
from crewrun.redaction.redactor import redact


class Category(StrEnum):
    """The kinds of failure that a row's error record may name. The set is closed, since users match on it."""

    INPUT = "input"
    AUTH = "auth"
    QUOTA = "quota"
    MODEL_NOT_FOUND = "model_not_found"
    BAD_REQUEST = "bad_request"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    RATE_LIMIT = "rate_limit"
    TIMEOUT = "timeout"
    NETWORK = "network"
    SERVER = "server"
    OUTPUT_INVALID = "output_invalid"
    TOOL = "tool"
    GUARDRAIL = "guardrail"
    BUDGET = "budget"
    INTERNAL = "internal"


class CrewrunError(Exception):
    """The root: `except CrewrunError` catches what crewrun itself raises, and nothing that the user's code does."""

    category: ClassVar[Category] = Category.INTERNAL
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class UsageError(CrewrunError):
    """A flag, a file or an environment variable is wrong. Nothing has been sent."""

    category = Category.INPUT
    exit_code = 2


class ModelRefused(UsageError):
    """An llm of the crew asks its provider for a parameter or a model that the provider does not have."""


class DefinitionError(CrewrunError, ValueError):
    """The crew's definition is wrong. The message starts with the place, `crew.yaml:14: tasks.draft.agent`.

    CrewAI raises ValueError here, so this is one too.
    """

    category = Category.INPUT
    exit_code = 2


class RunHeld(CrewrunError):
    """Another process is writing these results."""

    exit_code = 75


class BatchFailed(CrewrunError):
    """A run of `run_batch(…, check=True)` in which not every row succeeded, or whose results could not be written.

    `run` has the rest; `exit_code` is the command's.
    """

    def __init__(self, run: Any) -> None:
        failed = sum(group["count"] for group in run.summary["failures"])
        why = run.stopped or f"{failed:,} row{'' if failed == 1 else 's'} failed"
        super().__init__(f"{why}; the results are in {run.output or run.path}")
        self.run = run
        self.exit_code = run.exit_code  # type: ignore[misc]  # that of this run


class OutputFailed(CrewrunError):
    """The results can no longer be written, for instance because the disk is full. Whole lines written before stay."""


class JournalFailed(OutputFailed):
    """The journal can no longer be written. What was committed stays."""


class JournalDamaged(CrewrunError):
    """A run's journal cannot be read: it was cut, overwritten or deleted.

    Nothing has been sent, unless only a single entry is damaged, which is noticed when its row is run.
    """

    exit_code = 2


class OutputClosed(CrewrunError):
    """The reader of standard output has closed it, as `| head` does."""

    exit_code = 141


class RunStopped(CrewrunError):
    """A call cannot be made, and no other call could be either: unfinished rows stay pending."""

    exit_code = 4


class Interrupted(RunStopped):
    """The signal `number` came while a call blocked the event loop that handles it; the call was cancelled."""

    exit_code = 130

    def __init__(self, number: int) -> None:
        super().__init__(
            f"signal {number} came while a kickoff() blocked the event loop; inside async code write "
            "`await ….akickoff(…)`"
        )
        self.number = number


class EndpointRefused(RunStopped):
    """A model's endpoint refuses every call, for the reason given in `refusal`."""

    def __init__(self, provider: str, refusal: Exception) -> None:
        super().__init__(f"{provider} refuses every call: {refusal}")
        self.refusal = refusal


# What to do about a spent budget, where a command has it.
BUDGET_OF_A_COMMAND = "the same command with a larger --budget goes on"


class BudgetExhausted(RunStopped):
    """The rest of the run's budget may not cover the next call. Unfinished rows stay pending.

    `needed_usd` is the most that the refused call could have cost; it exceeds `limit_usd` when that call alone is too
    expensive. It is a guess unless max_tokens limits the answer (`is_bound`). `owed_usd` is the part of `spent_usd` for
    calls whose real cost is unknown: they timed out, broke off, or were in flight when a session was killed.
    """

    category = Category.BUDGET
    exit_code = 5

    def __init__(
        self,
        spent_usd: float,
        limit_usd: float,
        needed_usd: float,
        *,
        is_bound: bool,
        owed_usd: float = 0.0,
        remedy: str = BUDGET_OF_A_COMMAND,
    ) -> None:
        advice = "" if is_bound else " (an estimate, since max_tokens is not set; setting it in the llm lowers this)"
        owed = f", up to ${owed_usd:.6g} of it on calls whose bill is not known," if owed_usd else ""
        super().__init__(
            f"${spent_usd:.6g} of the budget of ${limit_usd:.6g} is spent{owed} and the next call may cost "
            f"${needed_usd:.6g}{advice}; {remedy}"
        )
        self.spent_usd = spent_usd
        self.limit_usd = limit_usd
        self.needed_usd = needed_usd


class OutageTooLong(RunStopped):
    """A provider has not answered for longer than the run waits for it. Unfinished rows stay pending.

    `has_job` says that a batch job of the call is at the provider: no other model is to answer it.
    """

    category = Category.SERVER
    has_job = False

    def __init__(self, provider: str, silent_s: float, last: Exception, *, has_answered: bool = True) -> None:
        if has_answered:
            what = f"has not answered for {silent_s:.0f} s (--outage-patience)"
            then = "the same command goes on when it is back"
        else:
            what = f"has not answered once in {silent_s:.0f} s"
            then = "check base_url and the network; the same command goes on, with --outage-patience 5m it waits longer"
        super().__init__(f"{provider} {what}, last error: {last}; {then}")


class WaitTooLong(RunStopped):
    """A provider asks for a wait of more than ten minutes, and the run's deadline does not allow it.

    Unfinished rows stay pending.
    """

    category = Category.RATE_LIMIT

    def __init__(self, provider: str, refusal: "CallError") -> None:
        wait = _in_words(refusal.retry_after_s or 0.0)
        super().__init__(
            f"{provider} asks to wait for {wait} (Retry-After): {refusal}; the same command goes on after that, "
            "or waits by itself with a later --deadline"
        )
        self.refusal = refusal


def _in_words(seconds: float) -> str:
    """`7260.0` → `2 h 1 min`."""
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    return " ".join(part for part in (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "") if part)


class InputInvalid(CrewrunError, ValueError):
    """A row's inputs cannot fill the crew's templates. CrewAI raises ValueError here, so this is one too."""

    category = Category.INPUT


class RowBudgetExceeded(CrewrunError):
    """The row has used up the budget of one row."""

    category = Category.BUDGET


class RowTimedOut(CrewrunError):
    """The whole row took longer than its time limit."""

    category = Category.TIMEOUT


class TaskTimedOut(CrewrunError, TimeoutError):
    """An agent took longer for one task than its max_execution_time. CrewAI raises TimeoutError here."""

    category = Category.TIMEOUT


class ToolFailed(CrewrunError):
    """A failure of a tool that the model cannot work around: the row fails.

    Any other exception from a tool is reported to the model, which may try again or do without; a tool raises this one
    to end the row instead.
    """

    category = Category.TOOL


class GuardrailFailed(CrewrunError):
    """No answer passed a task's guardrail, or the guardrail itself does not work."""

    category = Category.GUARDRAIL


class HookAborted(CrewrunError):
    """A hook stopped the call it was run for; `source` may name the hook. If it was a tool call, the model is told."""

    category = Category.GUARDRAIL

    def __init__(self, reason: str, source: Any = None) -> None:
        super().__init__(redact(reason))
        self.reason = reason
        self.source = source


class LLMCallBlockedError(HookAborted, ValueError):
    """A `before_llm_call` hook returned False. CrewAI raises ValueError here, so this is one too."""


class CallError(CrewrunError):
    """One model call failed.

    `http_status` is the provider's status, None without a reply. `retry_after_s` is how many seconds the provider asks
    to wait. `usage` is what the provider billed for an answer that could not be used. `limits` are the provider's rate
    limits according to the reply's headers. `is_coded` says that a structured error code names the cause, not just the
    message or the status; `param` is the request parameter that the provider blames, and `is_unsupported` says that the
    provider does not support something at all. `is_for_capacity` says that the provider has no room for the call now,
    whatever the account's limits. `raw` is what the model wrote, None if it wrote nothing or that is not
    known.

    The gateway sets `attempts`, how often the call was sent; `billed`, the usage and cost of all attempts; and
    `probes`, how many requests it took to find out whose failure this is.
    """

    def __init__(self, message: str, *, http_status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(redact(message))
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.attempts = 0
        self.usage = Usage()
        self.billed: tuple[Usage, float | None] = (Usage(), 0.0)
        self.limits: RateLimits | None = None
        self.is_coded = False
        self.probes = 0
        self.raw: str | None = None
        self.param: str | None = None
        self.is_unsupported = False
        self.is_for_capacity = False

    def redact(self) -> Self:
        """Black out secrets that were not known when the error was made, as in a transport that is not ours."""
        self.args = (redact(str(self)),)
        self.raw = self.raw and redact(self.raw)
        return self


class AuthRefused(CallError):
    """The key is missing, wrong, or may not use this model."""

    category = Category.AUTH


class QuotaExhausted(CallError):
    """The account has no credit left: another attempt cannot help."""

    category = Category.QUOTA


class ModelNotFound(CallError):
    """The endpoint has no such model, or the base_url is not an endpoint."""

    category = Category.MODEL_NOT_FOUND


class BadRequest(CallError):
    """The provider refused the request itself."""

    category = Category.BAD_REQUEST


class ToolsRefused(BadRequest):
    """The model does not support tools; they can be described in the prompt instead."""


class SchemaRefused(BadRequest):
    """The model does not support a schema for its reply; it can be described in the prompt instead."""


class ContextTooLong(CallError):
    """The prompt is longer than the model's context."""

    category = Category.CONTEXT_LENGTH


class ContentFiltered(CallError):
    """The provider's content policy refused the prompt or the answer."""

    category = Category.CONTENT_FILTER


class NotRecorded(CallError):
    """The run may send nothing (--replay), and what this call needs is not in its journal."""

    category = Category.NETWORK


class Unreachable(CallError):
    """The endpoint cannot be reached as configured: another attempt would fail the same way."""

    category = Category.NETWORK


class OutputInvalid(CallError):
    """The model answered, but with nothing that can be used. `raw` is what it wrote, None if it wrote nothing."""

    category = Category.OUTPUT_INVALID


class CustomModelFailed(CallError):
    """The code of a user's own model raised an exception that maps to no other class here. `__cause__` is that one."""


class BatchJobFailed(CallError):
    """A batch job did not bring the call's answer, and sending it again at once would not help or cost twice.

    `is_billed` says that the provider may have answered, and billed, the call.
    """

    category = Category.SERVER

    def __init__(self, message: str, *, http_status: int | None = None, is_billed: bool = False) -> None:
        super().__init__(message, http_status=http_status)
        self.is_billed = is_billed


class TransientError(CallError):
    """A failure that may not happen again on another attempt."""

    retryable = True


class EmptyReply(OutputInvalid, TransientError):
    """The model finished its reply without any content, or with nothing but reasoning.

    Another attempt may well bring an answer. A reply that is empty because of max_tokens is a plain OutputInvalid.
    """


class RateLimited(TransientError):
    """The provider asks for fewer requests or tokens per minute, or, with `is_concurrency`, for fewer in flight.

    `at_once` is how many requests in flight it says it allows, None if it does not say.
    """

    category = Category.RATE_LIMIT
    is_concurrency: bool = False
    at_once: int | None = None


class CallTimedOut(TransientError):
    """No reply within the call's time limit."""

    category = Category.TIMEOUT


class NetworkError(TransientError):
    """No connection, or one that broke before the reply was complete.

    For a connection that was not made, `reason` says why not, and `address` where to: `127.0.0.1:8123`.
    """

    category = Category.NETWORK

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        retry_after_s: float | None = None,
        address: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message, http_status=http_status, retry_after_s=retry_after_s)
        self.address = address
        self.reason = reason


class ServerError(TransientError):
    """The provider failed, or what came back was not a completion."""

    category = Category.SERVER


class NoCapacity(TransientError):
    """The tier that the call asked for has no room for it now. Nothing was billed, and no limit was exceeded."""

    category = Category.SERVER


class GenerationFailed(TransientError):
    """The model wrote a tool call or JSON that its own server could not read: the next attempt may be well-formed."""

    category = Category.OUTPUT_INVALID


class CrewrunWarning(UserWarning):
    """Something in a crew that crewrun ignores, such as an unknown field."""


class ForEachError(ExceptionGroup[Exception]):
    """Some inputs of a for-each failed; the others have their results.

    `results` lists, in input order, each input's output or its exception.
    """

    results: list[Any]

    def __new__(cls, message: str, results: Sequence[Any], callback_error: Exception | None = None) -> "ForEachError":
        """`callback_error` is what the caller's `on_outcome` raised, if it did."""
        failures = [r for r in results if isinstance(r, Exception)]
        error = super().__new__(cls, message, [*failures, callback_error] if callback_error else failures)
        error.results = list(results)
        return error

    def derive(self, excs: Sequence[Exception], /) -> ExceptionGroup[Exception]:  # type: ignore[override]  # a part has no results of its own
        return ExceptionGroup(self.message, excs)


AnyCallError = TypeVar("AnyCallError", bound=CallError)


def recast(error: CallError, kind: type[AnyCallError]) -> AnyCallError:
    """`error` as an instance of `kind`, with all its attributes."""
    other = kind(str(error))
    other.__dict__.update(error.__dict__)
    return other


def suggest(wrong: str, names: Sequence[str]) -> str:
    """` (did you mean 'x'?)` with the one of `names` that is nearest to `wrong`, or an empty string if none is near."""
    match = nearest(wrong, names)
    return f" (did you mean {match!r}?)" if match else ""


def nearest(name: str, others: Sequence[str], *, at_least: float = 0.6) -> str | None:
    """The one of `others` that `name` may be a typo of, ignoring case, or None.

    `at_least` is the similarity that counts, from 0 to 1; 0.6 is difflib's own default.
    """
    near = get_close_matches(name.lower(), [other.lower() for other in others], n=1, cutoff=at_least)
    return next((other for other in others if near and other.lower() == near[0]), None)
