"""`Attempts`: one attempt of a call, and what every attempt at an endpoint needs."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import anyio

from crewrun.aio.deadline import deadline
from crewrun.errors import CallTimedOut, UsageError
from crewrun.limits.estimates import believable
from crewrun.limits.limiter import Limiters
from crewrun.llm.call import Bill, Call, Caller
from crewrun.llm.capabilities import Capabilities
from crewrun.llm.endpoint_state import EndpointState
from crewrun.llm.options import GatewayOptions
from crewrun.llm.transports.registry import Transports
from crewrun.messages import ChatRequest, Completion, Endpoint
from crewrun.row_context import RowContext, use_row_context

# Longer than answers usually take; an LLM whose answers take more has a `timeout` of its own. A lost reply holds up its
# row, and its place in flight, for this long.
DEFAULT_CALL_TIMEOUT_S = 120.0
_OVER_AIOHTTP = ("direct", "embeddings")


class Attempts:
    """Makes the attempts of one gateway, any number at once."""

    def __init__(
        self,
        options: GatewayOptions,
        limiters: Limiters,
        transports: Transports,
        capabilities: Capabilities,
        find_state: Callable[[Endpoint], EndpointState],
    ) -> None:
        """`find_state` is called once for each endpoint; it raises AuthRefused or EndpointRefused without a key."""
        self._options = options
        self._limiters = limiters
        self._transports = transports
        self._capabilities = capabilities
        self._find_state = find_state
        self._states: WeakKeyDictionary[Endpoint, EndpointState] = WeakKeyDictionary()

    def call(self, request: ChatRequest, caller: Caller, bill: Bill) -> Call:
        """`request` with what its attempts need. Raises UsageError if a budget needs a price that nobody knows."""
        state = self._state(request.endpoint)
        price = None
        if self._limiters.is_budgeted and (price := state.most(request, caller.row_context.task_path)) is None:
            name = request.endpoint.name
            remedy = "give it by --price, or GatewayOptions(prices=…)"
            raise UsageError(f"the price of {name} is not known, so a budget cannot hold; {remedy}")
        return Call(request, caller, bill, state, state.expected(request), price)

    def _state(self, endpoint: Endpoint) -> EndpointState:
        state = self._states.get(endpoint)
        if state is None:
            state = self._states[endpoint] = self._find_state(endpoint)
        return state

    async def send_once(self, request: ChatRequest, row_context: RowContext) -> Completion:
        """One attempt, within the call's time limit. Calls that the user's own code makes in it are the row's."""
        endpoint = request.endpoint
        timeout_s = self._options.call_timeout_s or endpoint.timeout_s or DEFAULT_CALL_TIMEOUT_S
        transport, is_ours = self._transports.of(endpoint.transport_name), self._transports.substitute is None
        request = self._capabilities.trimmed(request)
        if is_ours and endpoint.transport_name == "custom":
            with use_row_context(row_context), anyio.move_on_after(timeout_s):
                return await transport.send(request)
        else:
            # litellm and what it calls may swallow a cancellation, and tests run under trio; ours do neither.
            is_over_asyncio = is_ours and endpoint.transport_name in _OVER_AIOHTTP
            with deadline(timeout_s) if is_over_asyncio else anyio.move_on_after(timeout_s):
                completion = await transport.send(request)
                # The size of vectors says nothing about tokens.
                is_in_words = is_ours and endpoint.transport_name != "embeddings"
                return believable(completion, request) if is_in_words else completion
        raise CallTimedOut(f"no reply from {endpoint.name} within {timeout_s:g} s (--call-timeout)")
