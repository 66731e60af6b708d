"""The way out to a provider: the protocol that every transport keeps.

What a refusal means is read in `http_errors`, what an answer says in `chat_json`. `crewrun.testing.check_transport`
holds any implementation against the contract written here.
"""

from typing import Protocol

from crewrun.messages import ChatRequest, Completion


class Transport(Protocol):
    """Sends one request to one provider, once."""

    async def send(self, request: ChatRequest) -> Completion:
        """Send `request` and return the model's answer.

        One call is one attempt on the wire: no retries, no time limit of its own. Raises a CallError of the class that
        `http_errors` and `errors.py` give for every way in which it can fail, nothing else. Cancellation ends it at
        once and leaves the transport usable. Any number of sends may run at once.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. No send is running and none follows."""
        ...
