"""`Transport`: the protocol for sending requests to a provider.

`http_errors` interprets refusals, `chat_json` answers. `crewrun.testing.check_transport` checks any implementation
against the contract given here.
"""

from typing import Protocol

from crewrun.messages import ChatRequest, Completion


class Transport(Protocol):
    """Sends one request to one provider, once."""

    async def send(self, request: ChatRequest) -> Completion:
        """Send `request` and return the model's answer.

        One call is one attempt on the wire, without retries and without a time limit of its own. However it fails, it
        raises a CallError of the class that `http_errors` and `errors.py` define, and nothing else. Cancellation ends
        it immediately and leaves the transport usable. Any number of sends may run concurrently.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. Called when no send is running and none will follow."""
        ...
