"""`describe_failure`: the error record of a row, from the exception that ended it."""

from crewrun.errors import CallError, Category, CrewrunError
from crewrun.llm.transports.foreign_failure import cause_of
from crewrun.loading.user_code import crewai_place_of, place_of
from crewrun.redaction.redactor import LONGEST_QUOTATION, redact, redact_line
from crewrun.row import ErrorRecord
from crewrun.row_context import RowContext

# Room for a provider's message and a few lines of cause, in a line of the results that stays readable.
_LONGEST_CHARS = 4000


def describe_failure(failed: Exception, row_context: RowContext) -> ErrorRecord:
    """The error record of a row that ended with `failed`.

    For an exception from other code the message begins with its place. If one of our errors caused it, such as a failed
    call, the record has the category of that error, and the message ends with it.
    """
    own = failed if isinstance(failed, CrewrunError) else None
    place = None if own else place_of(failed) or crewai_place_of(failed)
    cause = own or cause_of(failed)
    call = cause if isinstance(cause, CallError) else None
    message = redact(str(failed)[:LONGEST_QUOTATION])
    if cause is not None and cause is not failed and str(cause).partition(": ")[2] not in message:
        message = f"{message} ({cause})"
    return ErrorRecord(
        category=cause.category if cause is not None else Category.INTERNAL,
        type=type(failed).__name__,
        message=redact_line(f"{place}: {type(failed).__name__}: {message}" if place else message)[:_LONGEST_CHARS],
        task=row_context.failed_task,
        http_status=call.http_status if call else None,
        retryable=cause.retryable if cause is not None else False,
        attempts=call.attempts if call else 0,
        raw=redact(call.raw) if call and call.raw else None,
    )
