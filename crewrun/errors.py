"""Every error of crewrun, one tree.

    CrewrunError
    ├── UsageError            a flag, a file or a variable is wrong           exit 2
    │   └── ModelRefused          an llm asks for what its provider does not have
    ├── DefinitionError       the crew is wrong; a ValueError too             exit 2
    ├── RunHeld               another process is writing these results          exit 75
    ├── OutputFailed          the results cannot be written any more          exit 1
    │   └── JournalFailed     the journal cannot be written any more
    ├── JournalDamaged        the journal cannot be read                      exit 2
    ├── OutputClosed          whoever read the results has gone               exit 141
    ├── RunStopped            this call cannot be made, and no other one could   exit 4
    │   ├── EndpointRefused       a key, an account or a model that does not work
    │   ├── OutageTooLong         no answer for longer than --outage-patience
    │   ├── Interrupted           a signal, while a call held the event loop   exit 130
    │   ├── WaitTooLong           a Retry-After of more than ten minutes
    │   └── BudgetExhausted       the next call may not fit into --budget     exit 5, category budget
    ├── InputInvalid          this row's inputs are wrong                     category input
    ├── RowBudgetExceeded     the row cost all of its --row-budget            category budget
    ├── RowTimedOut           the row took longer than --row-timeout          category timeout
    ├── TaskTimedOut          an agent took longer than max_execution_time,
    │                         a TimeoutError too                              category timeout
    ├── ToolFailed            a tool says that its row cannot be done         category tool
    ├── GuardrailFailed       no answer passed a task's guardrail             category guardrail
    ├── HookAborted           a hook says that the call is not to be made     category guardrail
    │   └── LLMCallBlockedError   a before_llm_call hook returned False
    └── CallError             a model call failed
        ├── NotRecorded       --replay, and the journal has no such call          category network
        ├── Unreachable       a certificate, a proxy or a header that cannot work    category network
        ├── AuthRefused       401, 403, no key                                category auth
        ├── QuotaExhausted    402, a code such as insufficient_quota          category quota
        ├── ModelNotFound     404                                             category model_not_found
        ├── BadRequest        other 4xx                                       category bad_request
        │   ├── ToolsRefused      the model takes no tools
        │   └── SchemaRefused     the model takes no schema for its reply
        ├── ContextTooLong    the prompt does not fit the model               category context_length
        ├── ContentFiltered   the provider's policy refused it                category content_filter
        ├── CustomModelFailed the code of a user's own model raised           category internal
        ├── OutputInvalid     an answer that is no answer                     category output_invalid
        │   └── EmptyReply        no answer at all, also a TransientError
        └── TransientError    worth another attempt
            ├── RateLimited   429                                             category rate_limit
            ├── CallTimedOut  408, or no reply within --call-timeout          category timeout
            ├── NetworkError  refused, reset, name not found                  category network
            ├── ServerError   409, 424, 425, 498, 499, 5xx, no completion     category server
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
    """What kind of failure a row's error record names. The set is closed: users match on it."""

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
    """The root: `except CrewrunError` catches what crewrun itself raises, nothing of the user's code."""

    category: ClassVar[Category] = Category.INTERNAL
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class UsageError(CrewrunError):
    """A flag, a file or an environment variable is wrong. Nothing has been sent."""

    category = Category.INPUT
    exit_code = 2


class ModelRefused(UsageError):
    """An llm of the crew asks for what there is not where its calls go: a parameter, or the model itself."""


class DefinitionError(CrewrunError, ValueError):
    """The crew's definition is wrong. The message starts with the place, `crew.yaml:14: tasks.draft.agent`.

    CrewAI raises ValueError here, so this is one too.
    """

    category = Category.INPUT
    exit_code = 2


class RunHeld(CrewrunError):
    """Another process is writing these results."""

    exit_code = 75


class OutputFailed(CrewrunError):
    """The results cannot be written any more, for instance on a full disk. Whole lines written before stay."""


class JournalFailed(OutputFailed):
    """The journal cannot be written any more. What was committed stays."""


class JournalDamaged(CrewrunError):
    """A run's journal cannot be read: it was cut, overwritten or deleted.

    Nothing has been sent, unless it is a single entry that shows so when its row comes.
    """

    exit_code = 2


class OutputClosed(CrewrunError):
    """The reader of standard output has gone, as `| head` does."""

    exit_code = 141


class RunStopped(CrewrunError):
    """A call cannot be made, and the same would meet every other one: rows that are not finished stay pending."""

    exit_code = 4


class Interrupted(RunStopped):
    """The signal `number` came while a call held the event loop that was to hear of it; the call was cancelled."""

    exit_code = 130

    def __init__(self, number: int) -> None:
        super().__init__(
            f"signal {number} came while a kickoff() blocked the event loop; inside async code write "
            "`await ….akickoff(…)`"
        )
        self.number = number


class EndpointRefused(RunStopped):
    """A model's endpoint refuses every call, as it did with `refusal`."""

    def __init__(self, provider: str, refusal: Exception) -> None:
        super().__init__(f"{provider} refuses every call: {refusal}")
        self.refusal = refusal


class BudgetExhausted(RunStopped):
    """What is left of the run's budget may not pay for the next call. Rows that are not finished stay pending.

    `needed_usd` is the most that the refused call could have cost: more than `limit_usd` when it alone is too dear.
    Where no max_tokens made its answer `is_bound`, that was a guess. `owed_usd` of what is spent is what calls may
    have cost whose bill nobody told: they timed out, broke off, or were in flight when a session was killed.
    """

    category = Category.BUDGET
    exit_code = 5

    def __init__(
        self, spent_usd: float, limit_usd: float, needed_usd: float, *, is_bound: bool, owed_usd: float = 0.0
    ) -> None:
        advice = "" if is_bound else " (a guess, since no max_tokens is set: one in the llm makes that less)"
        owed = f", up to ${owed_usd:.6g} of it on calls whose bill is not known," if owed_usd else ""
        super().__init__(
            f"${spent_usd:.6g} of the budget of ${limit_usd:.6g} is spent{owed} and the next call may cost "
            f"${needed_usd:.6g}{advice}; the same command with a larger --budget goes on"
        )
        self.spent_usd = spent_usd
        self.limit_usd = limit_usd
        self.needed_usd = needed_usd


class OutageTooLong(RunStopped):
    """A provider has not answered for longer than the run waits for it. Rows that are not finished stay pending."""

    category = Category.SERVER

    def __init__(self, provider: str, silent_s: float, last: Exception, *, has_answered: bool = True) -> None:
        if has_answered:
            what = f"has not answered for {silent_s:.0f} s (--outage-patience)"
            then = "the same command goes on when it is back"
        else:
            what = f"has not answered once in {silent_s:.0f} s"
            then = "check base_url and the network; the same command goes on, with --outage-patience 5m it waits longer"
        super().__init__(f"{provider} {what}, at last with: {last}; {then}")


class WaitTooLong(RunStopped):
    """A provider asks for a wait of more than ten minutes, and the run's deadline does not allow it.

    Rows that are not finished stay pending.
    """

    category = Category.RATE_LIMIT

    def __init__(self, provider: str, refusal: "CallError") -> None:
        asked = _in_words(refusal.retry_after_s or 0.0)
        super().__init__(
            f"{provider} asks to wait for {asked} (Retry-After): {refusal}; the same command goes on after that, "
            "and with a --deadline that is further away it waits by itself"
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
    """The row has cost as much as one row may."""

    category = Category.BUDGET


class RowTimedOut(CrewrunError):
    """The whole row took longer than its time limit."""

    category = Category.TIMEOUT


class TaskTimedOut(CrewrunError, TimeoutError):
    """An agent took longer for one task than its max_execution_time. CrewAI raises TimeoutError here."""

    category = Category.TIMEOUT


class ToolFailed(CrewrunError):
    """A tool's failure that the model cannot help with: the row fails.

    Any other exception of a tool is told to the model, which may try again or do without; a tool raises this one to
    end the row instead.
    """

    category = Category.TOOL


class GuardrailFailed(CrewrunError):
    """No answer passed a task's guardrail, or the guardrail itself does not work."""

    category = Category.GUARDRAIL


class HookAborted(CrewrunError):
    """A hook stops what it was called for; `source` may say which hook that is. Of a tool's call the model is told."""

    category = Category.GUARDRAIL

    def __init__(self, reason: str, source: Any = None) -> None:
        super().__init__(redact(reason))
        self.reason = reason
        self.source = source


class LLMCallBlockedError(HookAborted, ValueError):
    """A `before_llm_call` hook returned False. CrewAI raises ValueError here, so this is one too."""


class CallError(CrewrunError):
    """One model call failed.

    `http_status` is the provider's status, None without a reply. `retry_after_s` is how long the provider asks
    to wait, in seconds. `attempts` is how often the call was sent, set by the gateway. `usage` is what the provider
    billed for an answer that could not be used, `billed` that of all attempts and its cost, set by the gateway.
    `limits` is what the reply's headers said of the provider's rate limits. `is_coded` says that a structured code of
    the provider's names the cause, and not only its words or the status; `param` is the request's parameter that it
    names, and `is_unsupported` says that something is not taken at all. `probes` is how many requests had to be sent to
    find out whose failure it is, set by the gateway, and `raw` what the model wrote, None where that is nothing or is
    not told.
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

    def redact(self) -> Self:
        """Black out what has become a known secret since the error was made, as where another's transport made it."""
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
    """The endpoint knows no such model, or the base_url is not an endpoint."""

    category = Category.MODEL_NOT_FOUND


class BadRequest(CallError):
    """The provider refused the request itself."""

    category = Category.BAD_REQUEST


class ToolsRefused(BadRequest):
    """The model does not take tools: the same can be asked for in words."""


class SchemaRefused(BadRequest):
    """The model does not take a schema for its reply: the same can be asked for in words."""


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
    """The endpoint cannot be reached as it is set up: another attempt would fail alike."""

    category = Category.NETWORK


class OutputInvalid(CallError):
    """The model answered, but with nothing that can be used. `raw` is what it said, None when that is nothing."""

    category = Category.OUTPUT_INVALID


class CustomModelFailed(CallError):
    """The code of a model of the user's own raised something that says no more than its place and its words.

    Its cause is what was raised.
    """


class TransientError(CallError):
    """A failure that another attempt may not meet."""

    retryable = True


class EmptyReply(OutputInvalid, TransientError):
    """The model ended its reply, and there is nothing in it, or only reasoning.

    Another attempt may well have an answer. A reply that max_tokens left empty is a plain OutputInvalid.
    """


class RateLimited(TransientError):
    """The provider asks for fewer requests or tokens a minute, or, if it `is_concurrency`, for fewer at once.

    `at_once` is how many in flight it says it takes, None where it does not say.
    """

    category = Category.RATE_LIMIT
    is_concurrency: bool = False
    at_once: int | None = None


class CallTimedOut(TransientError):
    """No reply within the call's time limit."""

    category = Category.TIMEOUT


class NetworkError(TransientError):
    """No connection, or one that broke before the reply was whole."""

    category = Category.NETWORK


class ServerError(TransientError):
    """The provider failed, or what came back was not a completion."""

    category = Category.SERVER


class GenerationFailed(TransientError):
    """The model wrote a tool call or JSON that its own server could not read: the next attempt may be well-formed."""

    category = Category.OUTPUT_INVALID


class CrewrunWarning(UserWarning):
    """Something in a crew that crewrun goes on without, such as a field that it does not know."""


class ForEachError(ExceptionGroup[Exception]):
    """Some inputs of a for-each failed; the others have their results.

    `results` lists, in input order, each input's output or its exception.
    """

    results: list[Any]

    def __new__(cls, message: str, results: Sequence[Any], told: Exception | None = None) -> "ForEachError":
        """`told` is what a caller's `on_outcome` raised, when it did."""
        failures = [r for r in results if isinstance(r, Exception)]
        error = super().__new__(cls, message, [*failures, told] if told else failures)
        error.results = list(results)
        return error

    def derive(self, excs: Sequence[Exception], /) -> ExceptionGroup[Exception]:  # type: ignore[override]  # a part has no results of its own
        return ExceptionGroup(self.message, excs)


AnyCallError = TypeVar("AnyCallError", bound=CallError)


def recast(error: CallError, kind: type[AnyCallError]) -> AnyCallError:
    """`error` as one of class `kind`, with all that is known of it."""
    other = kind(str(error))
    other.__dict__.update(error.__dict__)
    return other


def suggest(wrong: str, known: Sequence[str]) -> str:
    """` (did you mean 'x'?)` for the known name nearest to `wrong`, else an empty string."""
    match = nearest(wrong, known)
    return f" (did you mean {match!r}?)" if match else ""


def nearest(name: str, others: Sequence[str], *, at_least: float = 0.6) -> str | None:
    """The one of `others` that `name` may be a slip of, case aside; `at_least` is how much of both must be alike."""
    near = get_close_matches(name.lower(), [other.lower() for other in others], n=1, cutoff=at_least)
    return next((other for other in others if near and other.lower() == near[0]), None)
