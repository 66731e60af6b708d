"""The CallError for an exception of litellm.

If a reply came, its status and body decide, as `http_errors` reads them. If none came, or litellm could not read it,
the class names along the exception's chain decide (`error_classes`).
"""

import re
from collections.abc import Iterator
from typing import Any

from crewrun.errors import BadRequest, CallError, ServerError, recast
from crewrun.llm.transports.chat_json import with_usage
from crewrun.llm.transports.embedded_errors import embedded_failure
from crewrun.llm.transports.error_classes import kind_by_class
from crewrun.llm.transports.http_errors import failure
from crewrun.llm.transports.litellm.wire import WireReply
from crewrun.llm.usage.counts import usage_of
from crewrun.redaction.redactor import redact

# Raised by code that was given something it cannot use.
_MISTAKES = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, AssertionError)
# What to take out of a message: prefixes such as "litellm.AuthenticationError: AnthropicException - ", the addresses of
# objects, and advice on programming litellm, which ours replaces.
_NOISE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception|Timeout)(?: \w+)?(?::| -) +)+"), ""),
    (re.compile(r" ssl:<[^>]*>| Traceback \(most recent call last\):"), ""),
    (
        re.compile(r"To drop (?:these|unsupported params), set .*"),
        "Remove them, or say drop_params: true in the llm; what the provider has all the same may stand in extra_body",
    ),
    (re.compile(r" File an issue if .*"), ""),
    (
        re.compile(r"(?:Error: )?Image URL download is disabled \([^)]*\)\."),
        "this provider takes no addresses of images and files, and crewrun fetches none; name a local file.",
    ),
)


def as_call_error(error: Exception, reply: WireReply) -> CallError:
    """The CallError for any exception out of litellm. `reply` is what the provider sent, if it sent anything."""
    if reply.refused is not None:
        return ServerError(str(reply.refused), http_status=reply.status)
    body = reply.parsed()
    if (embedded := embedded_failure(body, reply.headers)) is not None:
        return with_usage(embedded, usage_of(body, reply.headers))
    chain = list(_chain(error))
    refused = next((link.response for link in chain if _is_named(link, "HTTPStatusError")), None)
    if reply.status is not None and reply.status >= 400:
        return _refined(failure(reply.status, reply.body, reply.headers), kind_by_class(_most_telling(chain)))
    if refused is not None:
        return _refined(
            failure(refused.status_code, refused.content, refused.headers), kind_by_class(_most_telling(chain))
        )
    # Without a reply the broken connection is the cause, whatever class litellm chose: it looks for numbers such as 403
    # in the text, and finds them in ports and object addresses.
    broken = next((link for link in chain if _is_named(link, "TransportError")), None)
    if broken is None and reply.status is not None:
        return _unreadable(reply.status, chain)
    source = broken or _most_telling(chain)
    kind = kind_by_class(source)
    if kind is None and any(isinstance(link, _MISTAKES) for link in chain):
        kind = BadRequest  # litellm could not build the request: the next attempt would fail in the same way
    if kind is None:
        return ServerError(f"litellm failed: {summary(source)}")
    return kind(summary(source), http_status=reply.status)


def _refined(refused: CallError, kind: type[CallError] | None) -> CallError:
    """`refused` as the class that litellm found, where neither a code, the words nor the status say more than a 400.

    litellm knows more of the providers' wordings for a 400, but also finds them in a message that quotes a row's text.
    """
    if type(refused) is not BadRequest or refused.is_coded or kind is None or kind.retryable:
        return refused
    return recast(refused, kind)


def _unreadable(status: int, chain: list[Any]) -> CallError:
    """The error for a 2xx reply that litellm could not read: it says nothing about other calls."""
    # Gemini's parser, for one, raises BadRequestError for a reply that it cannot read.
    source = _most_telling([link for link in chain if kind_by_class(link) is not BadRequest] or chain[-1:])
    kind = kind_by_class(source)
    if kind is None or kind is BadRequest:
        return ServerError(f"litellm failed: {summary(source)}", http_status=status)
    return kind(summary(source), http_status=status)


def _chain(error: BaseException | None) -> Iterator[Any]:
    """`error` and its causes, outermost first.

    It ends at a CallError: that is from an earlier attempt, in whose handler this attempt was made.
    """
    while error is not None and not isinstance(error, CallError):
        yield error
        error = error.__cause__ or error.__context__


def _most_telling(chain: list[Any]) -> Any:
    """The outermost error whose class says something, preferably more than that the request is bad; else the one that
    litellm wrapped.
    """
    kinds = [(link, kind) for link in chain if (kind := kind_by_class(link))]
    match = next((link for link, kind in kinds if kind is not BadRequest), kinds[0][0] if kinds else None)
    return match or chain[min(1, len(chain) - 1)]


def _is_named(error: object, name: str) -> bool:
    return any(c.__name__ == name for c in type(error).__mro__)


def summary(error: BaseException) -> str:
    """The class and first line of `error`, without litellm's prefixes, tracebacks and advice."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    for noise, replacement in _NOISE:
        text = noise.sub(replacement, text)
    if isinstance(error, ImportError):
        text += "; litellm needs it for this provider, so install it"
    return f"{type(error).__name__}: {redact(text)[:500]}"
