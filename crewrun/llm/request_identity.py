"""Request identities: the 16 bytes by which a request or a tool call is recognised when a row is run again.

`crewrun.recorder` says what is recorded under them. They must not change, or existing runs would pay for their calls
again.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from weakref import WeakKeyDictionary

from crewrun.messages import ChatRequest, Endpoint, ReplySchema, ToolSpec, relaxed

# Where models count as called, by transport, provider and model. None stands for every model's own address; with a
# mapping (--same-endpoint), a model that is not in it has none.
Addresses = Mapping[tuple[str, str, str], str | None] | None

_DIGEST_BYTES = 16
_TIER = "service_tier"


class Identities:
    """Identities of requests: a digest of all that decides the answer, so without key, tier and time limit."""

    def __init__(self, addresses: Addresses = None, *, with_tier: bool = False) -> None:
        """`with_tier` is for the records of versions that had an LLM's `service_tier` in the identity."""
        self._addresses = addresses
        self._with_tier = with_tier
        self._endpoints: WeakKeyDictionary[Endpoint, bytes] = WeakKeyDictionary()
        self._own = self if addresses is None else Identities(with_tier=with_tier)
        self._tiered = self if with_tier else Identities(addresses, with_tier=True)

    def all_of(self, request: ChatRequest) -> list[bytes]:
        """Every identity that `request` may be recorded under: `of`, that with its own address, and those that older
        versions gave it.
        """
        identity = self.of(request)
        own = identity if self._own is self else self._own.of(request)
        several = [identity] if own == identity else [identity, own]
        if self._tiered is not self and _names_tier(request.endpoint):
            several += [other for other in self._tiered.all_of(request) if other not in several]
        return several

    def of(self, request: ChatRequest) -> bytes:
        """16 bytes over model, address, parameters, messages, tools and schema."""
        endpoint = request.endpoint
        prefix = self._endpoints.get(endpoint)
        if prefix is None:
            described = describe_endpoint(endpoint, self._addresses, with_tier=self._with_tier)
            prefix = self._endpoints[endpoint] = described.encode("utf-8", "surrogatepass")
        parts = [prefix, b""]
        if request.tools:
            parts[1] = _describe_tools(request.tools)
        if request.schema is not None and request.schema is not endpoint.reply_schema:  # that is in the prefix
            parts.append(_describe_schema(request.schema))
        for message in request.messages:
            content = message.content.encode("utf-8", "surrogatepass")
            # The length in front makes it unambiguous where a text ends.
            parts.append(b"%s %d" % (message.role.encode(), len(content)))
            parts.append(content)
            if message.tool_calls or message.tool_call_id is not None:
                calls = [(call.id, call.name, call.arguments) for call in message.tool_calls]
                parts.append(_canonical([calls, message.tool_call_id]))
            # Nothing is added if there is nothing carried, so that identities from before this existed still match.
            if message.carried or (message.tool_calls and any(call.carried for call in message.tool_calls)):
                parts.append(_canonical([message.carried, [call.carried for call in message.tool_calls]]))
            if message.parts:
                parts.append(_canonical([part.digest.hex() for part in message.parts]))
        return blake2b(b"\n".join(parts), digest_size=_DIGEST_BYTES).digest()


def _written(endpoint: Endpoint) -> Mapping[str, Any]:
    return endpoint.params if endpoint.written_params is None else endpoint.written_params


def _names_tier(endpoint: Endpoint) -> bool:
    return _TIER in _written(endpoint)


def describe_endpoint(endpoint: Endpoint, addresses: Addresses = None, *, with_tier: bool = True) -> str:
    """The parts of an endpoint that decide its answers, as text: transport, provider, model, address and parameters.

    With `addresses`, the address is the one that the model counts as called at. A variable that may hold a secret is in
    it as its reference, without its value. The tier at which answers are served does not decide them; an LLM's own
    `service_tier` is left out only without `with_tier`, since the definitions of existing runs have it.
    """
    params = dict(_written(endpoint))
    if not with_tier:
        params.pop(_TIER, None)
    if endpoint.reply_schema is not None:
        declared = relaxed(endpoint.reply_schema)
        schema = {"name": declared.name, "schema": declared.schema}
        params["response_format"] = {"type": "json_schema", "json_schema": schema}
    model = (endpoint.transport_name, endpoint.provider, endpoint.model)
    base_url = endpoint.written_url or endpoint.base_url
    about = [*model, base_url if addresses is None else addresses.get(model), params]
    return _canonical(about).decode()


def tool_identity(version: str, name: str, arguments: str) -> bytes:
    """The identity of one call of a tool; `version` says which code the tool is."""
    return blake2b(_canonical([version, name, arguments]), digest_size=_DIGEST_BYTES).digest()


# Toolboxes and schemas are made once for many rows, so a run has a few hundred at most.
@lru_cache(maxsize=512)
def _describe_tools(tools: tuple[ToolSpec, ...]) -> bytes:
    return _canonical([[tool.name, tool.description, tool.parameters] for tool in tools])


@lru_cache(maxsize=512)
def _describe_schema(schema: ReplySchema) -> bytes:
    return _canonical([schema.name, schema.schema, schema.strict])


@lru_cache(maxsize=512)
def schema_digest(schema: ReplySchema) -> str:
    """16 hex digits that stand for a schema."""
    return blake2b(_describe_schema(schema), digest_size=8).hexdigest()


def _canonical(value: Any) -> bytes:
    # ASCII, so that lone surrogates in a model's text do no harm.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()
