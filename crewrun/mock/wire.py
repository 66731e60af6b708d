"""`Wire`: how a provider writes requests, answers and refusals. `calls` decides what to answer."""

from collections.abc import Iterator
from typing import Any, Protocol

from crewrun.llm.offline_model.fake_model import FakeAnswer
from crewrun.mock.chat import Chat
from crewrun.mock.prompt_cache import Block
from crewrun.mock.replies import MockReply, Refusal, Serial, Usage


class Wire(Protocol):
    """One kind of endpoint. `provider` is the name by which its models are priced."""

    provider: str

    def read(self, request: dict[str, Any]) -> Chat:
        """The request as a chat. Raises ValueError with what the provider, or the mock, would refuse."""

    def blocks(self, request: dict[str, Any]) -> Iterator[Block]:
        """The prompt of a request that `read` has taken, in the order in which the provider's cache sees it."""

    def completion(
        self, chat: Chat, serial: Serial, answer: FakeAnswer, usage: Usage, *, cut_off: bool
    ) -> dict[str, Any]:
        """`answer` in the provider's form; `cut_off` says that it ends at its length."""

    def events(self, chat: Chat, body: dict[str, Any]) -> Iterator[bytes]:
        """The completion `body` as the server-sent events of a stream."""

    def refusal(self, refusal: Refusal) -> MockReply:
        """`refusal` in the provider's form."""
