"""`Capabilities`: which models turned out to take no tools, no schema for their reply, or not all parameters.

A refusal may be the fault of one request: a conversation that broke the template, a schema that the server cannot
compile. If the endpoint has ever answered a request with tools, or one with this schema in the last minute, the refusal
is the row's own. Otherwise a probe with the same tools or schema decides. A conclusion holds for the crew definition
whose requests led to it.

A refused parameter is left out if the LLM has drop_params. The answer to the request without it is the evidence, so
there is no probe.
"""

import re
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final
from weakref import WeakKeyDictionary

import anyio

from crewrun.errors import BadRequest, CallError, ModelNotFound, SchemaRefused, ToolsRefused, recast
from crewrun.llm.endpoint_secrets import without_secrets
from crewrun.llm.parameters import OF_TOOLS, OTHER_NAME, fields_of
from crewrun.llm.request_identity import describe_endpoint, schema_digest
from crewrun.messages import ChatRequest, Endpoint, ReplySchema, relaxed
from crewrun.recorder import Recorder

TOOLS: Final = "tools"
PICTURES: Final = "pictures"
CACHE_HINTS: Final = "prompt_cache"
_PARAMETER: Final = "parameter:"
# Statuses with which providers refuse `tools` or `response_format`, such as vLLM, Ollama and OpenRouter (404).
_REFUSING = frozenset({400, 404, 405, 415, 422, 501})
_ABOUT_TOOLS = re.compile(r"\btools?\b|tool[_ ]choice|tool[_ -]call|function[_ -]?call", re.IGNORECASE)
_ABOUT_SCHEMA = re.compile(
    r"response[_ ]?format|json[_ ]?schema|structured[_ ]?output|response[_ ]schema|text\.format", re.IGNORECASE
)
_ABOUT_CACHE = re.compile(r"prompt_cache_(?:key|options|breakpoint)|cache_control|cachePoint")
# How long an answer vouches for a schema; as for probes in `limits.probes`.
_RECENT_S = 60.0
# How a refusal names a parameter: in quotes, after a colon or a word such as "parameter", or by its spelling.
_NAMES = re.compile(
    r"['\"`‘“]([\w.\[\]-]{1,80})['\"`’”]|\b(\w+_\w+|[a-z]+(?:[A-Z][a-z]*)+)\b|"
    r"(?::|parameters?|arguments?|fields?|property|supports?|supported) +(?=(\w{1,80}))"
)
_PUNCTUATION = re.compile(r"[^a-z0-9]")

# A conclusion: (endpoint as `without_secrets` describes it, `tools`, or `schema:` or `strict:` and a digest, or
# `parameter:` and its name, or `pictures`).
Refused = tuple[str, str]


class Capabilities:
    """What endpoints take, for one event loop. `refused` are the conclusions, which may be added to."""

    def __init__(self) -> None:
        self.refused: set[Refused] = set()
        self._history: dict[str, _History] = {}  # by description, since several LLMs may be one model
        self._by_endpoint: WeakKeyDictionary[Endpoint, _History] = WeakKeyDictionary()

    def takes_tools(self, endpoint: Endpoint) -> bool:
        """Whether tools go to `endpoint` as tools, not in words."""
        return endpoint.takes_tools and not (self.refused and self.refusal(endpoint, TOOLS) in self.refused)

    def takes_pictures(self, endpoint: Endpoint) -> bool:
        """Whether pictures that tools return go to `endpoint`."""
        return not (self.refused and self.refusal(endpoint, PICTURES) in self.refused)

    def takes_schema(self, endpoint: Endpoint, schema: ReplySchema | None) -> bool:
        """Whether `schema` goes to `endpoint` as such, not only in words."""
        return schema is not None and endpoint.takes_schema and not self.refuses(endpoint, schema)

    def refuses(self, endpoint: Endpoint, schema: ReplySchema) -> bool:
        """Whether `endpoint` turned out not to take `schema`."""
        return bool(self.refused) and self.refusal(endpoint, _named(schema)) in self.refused

    def takes_cache_hints(self, endpoint: Endpoint) -> bool:
        """Whether requests to `endpoint` may say something to its prompt cache."""
        return not (self.refused and self.refusal(endpoint, CACHE_HINTS) in self.refused)

    def fitted(self, request: ChatRequest) -> ChatRequest:
        """`request` with its schema in the form that the endpoint takes."""
        if request.schema is None or not self.refused:
            return request
        if self.refusal(request.endpoint, strict_form(request.schema)) not in self.refused:
            return request
        return replace(request, schema=relaxed(request.schema))

    def trimmed(self, request: ChatRequest) -> ChatRequest:
        """`request` without the parameters that its endpoint turned out not to take."""
        endpoint = request.endpoint
        if request.cache_hints is not None and not self.takes_cache_hints(endpoint):
            request = replace(request, cache_hints=None)
        if not endpoint.drops_params or not self.refused:
            return request
        described = self._of(endpoint).name
        names = sorted(what[len(_PARAMETER) :] for one, what in self.refused if one == described and is_parameter(what))
        return replace(request, left_out=tuple(dict.fromkeys([*request.left_out, *names]))) if names else request

    def refusal(self, endpoint: Endpoint, what: str) -> Refused:
        """A conclusion about an endpoint, without its secrets, since it is stored and shown."""
        return self._of(endpoint).name, what

    def suppose(self, endpoint: Endpoint, what: str) -> set[Refused]:
        """Go by a conclusion that an answer is yet to show. Returns it, if it is a new one, to take it back or
        `conclude` it.
        """
        new = {self.refusal(endpoint, what)} - self.refused
        self.refused |= new
        return new

    def conclude(self, conclusion: Refused, recorder: Recorder | None) -> None:
        """Remember a conclusion, in the journal too."""
        self.refused.add(conclusion)
        if recorder is not None:
            recorder.refused(*conclusion)

    def answered(self, request: ChatRequest, original: ChatRequest) -> None:
        """`request` was answered. It was made from `original`, with the same schema or a relaxed one."""
        history = self._of(request.endpoint)
        now = anyio.current_time()
        if request.tools:
            history.answered_at[TOOLS] = now
        if request.schema is not None and original.schema is not None:
            history.answered_at[_named(original.schema)] = now
            if request.schema is original.schema:
                history.answered_at[strict_form(original.schema)] = now

    def is_own(self, endpoint: Endpoint, what: str) -> bool:
        """Whether earlier answers of `endpoint` show that a refusal of `what` is its request's own."""
        answered_at = self._of(endpoint).answered_at.get(what, -inf)
        return answered_at > -inf if what == TOOLS else anyio.current_time() - answered_at < _RECENT_S

    def probing(self, endpoint: Endpoint, what: str) -> anyio.Lock:
        """The lock of the call that probes: others with the same refusal wait for the result."""
        return self._of(endpoint).probing.setdefault(what, anyio.Lock())

    def _of(self, endpoint: Endpoint) -> "_History":
        history = self._by_endpoint.get(endpoint)
        if history is None:
            described = describe_endpoint(endpoint)
            history = self._history.setdefault(described, _History(without_secrets(described)))
            self._by_endpoint[endpoint] = history
        return history


@dataclass(slots=True)
class _History:
    """What one endpoint has answered, and when, by the second part of `Refused`. `name` is the first part."""

    name: str
    answered_at: dict[str, float] = field(default_factory=dict)
    probing: dict[str, anyio.Lock] = field(default_factory=dict)


def classified(error: CallError, request: ChatRequest) -> CallError:
    """`error`, recast if it is about the tools or the schema of `request`."""
    if not (request.tools or request.schema):
        return error
    if type(error) is BadRequest and error.http_status is None:
        pass  # litellm itself knows that the provider has no such parameter
    elif error.http_status not in _REFUSING or (
        type(error) not in (BadRequest, ModelNotFound) and error.http_status != 501
    ):
        return error
    if error.is_unsupported and refused_parameter(error, request) in OF_TOOLS:
        return error  # the tools themselves may be taken
    text = f"{error.param or ''} {_without_model(error, request.endpoint)}"
    if request.schema and _ABOUT_SCHEMA.search(text):
        return recast(error, SchemaRefused)
    if request.tools and _ABOUT_TOOLS.search(text):
        return recast(error, ToolsRefused)
    return error


def refused_parameter(error: CallError, request: ChatRequest) -> str | None:
    """The parameter of `request` that `error` says is not supported, None if it says no such thing."""
    if not error.is_unsupported or not isinstance(error, BadRequest):
        return None
    sent = {_plain(name): name for name in (*fields_of(request), *request.endpoint.extra_body)}
    text = _without_model(error, request.endpoint)
    for name in (error.param or "", *("".join(match) for match in _NAMES.findall(text))):
        # `body.top_k`, `thinking.budget_tokens`, `stop[0]`
        for part in re.split(r"[.\[]", name):
            if (parameter_name := sent.get(_plain(part))) is not None:
                return parameter_name
    named = [name for name in sent.values() if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    return named[0] if len(named) == 1 else None


def refuses_cache_hints(error: CallError) -> bool:
    """Whether `error` is about what a request says to the provider's prompt cache."""
    return isinstance(error, BadRequest) and bool(_ABOUT_CACHE.search(f"{error.param or ''} {error}"))


def _without_model(error: CallError, endpoint: Endpoint) -> str:
    """The message of `error` without the model's name, which may contain "tool" as "llama3-groq-tool-use" does."""
    return re.sub(rf"(?<![\w-]){re.escape(endpoint.model)}(?![\w-])", "", str(error))


def can_leave_out(name: str, request: ChatRequest) -> bool:
    """Whether another attempt may leave out a refused parameter. A limit of tokens has two names to try."""
    return (
        request.endpoint.drops_params and name not in request.left_out and OTHER_NAME.get(name) not in request.left_out
    )


def advised(error: CallError, name: str) -> CallError:
    """`error`, about an unsupported parameter, with what to do."""
    error.args = (f"{error}; take {name} out of the llm, or say drop_params: true there",)
    return error


def parameter(name: str) -> str:
    """The conclusion that a parameter is not supported."""
    return _PARAMETER + name


def is_parameter(what: str) -> bool:
    """Whether a conclusion is about a parameter."""
    return what.startswith(_PARAMETER)


def refused_feature(error: CallError, request: ChatRequest) -> str:
    """The conclusion that a refusal suggests: `tools`, or the schema by its digest."""
    return _named(request.schema) if isinstance(error, SchemaRefused) and request.schema else TOOLS


def strict_form(schema: ReplySchema) -> str:
    """The conclusion that a schema is refused as a strict one."""
    return f"strict:{schema_digest(schema)}"


def in_words(what: str) -> str:
    """A conclusion in words, for people."""
    if what == TOOLS:
        return "takes no tools: they were asked for in words"
    if what == PICTURES:
        return "takes no pictures: those of tools were left out"
    if what == CACHE_HINTS:
        return "takes no parameters for its prompt cache: they were left out"
    if is_parameter(what):
        name = what[len(_PARAMETER) :]
        other = OTHER_NAME.get(name)
        done = f"the limit went as {other}" if other else "it was left out"
        return f"does not take {name}: {done} (drop_params)"
    if what.startswith("strict:"):
        return "takes the schema for its replies, but not as a strict one"
    return "takes no schema for its replies: it was asked for in words"


def as_json(model: str, what: str) -> dict[str, str]:
    """A conclusion about a model as the summary has it."""
    kind, _, name = what.partition(":")
    return {"model": model, "what": kind, **({"name": name} if is_parameter(what) else {})}


def _plain(name: str) -> str:
    return _PUNCTUATION.sub("", name.lower())


def _named(schema: ReplySchema) -> str:
    return f"schema:{schema_digest(schema)}"
