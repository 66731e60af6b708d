"""`Chat`: a request for an answer as the mock understands it, whatever the provider's wire.

`openai_chat`, `openai_responses` and `anthropic_messages` read it from their bodies.
"""

from typing import Any, NamedTuple

from crewrun.llm.offline_model.fake_model import Turn
from crewrun.messages import ToolSpec

_SYSTEM = ("system", "developer")


class Chat(NamedTuple):
    """A valid request.

    `choice` is `auto`, `none`, `required` or the name of the tool that must be called. `wants_json` is set for every
    response_format except text; then `schema` is its schema, if any. `chars` is the length of all its text. `tier` is
    the service tier that it names, or None. `stream` is whether the answer comes in pieces, `stream_usage` whether the
    last piece tells the usage.
    """

    model: str
    turns: tuple[Turn, ...]
    tools: tuple[ToolSpec, ...]
    choice: str
    wants_json: bool
    schema: Any
    chars: int
    tier: str | None = None
    stream: bool = False
    stream_usage: bool = False

    @property
    def steering(self) -> list[str]:
        """The texts of all turns but system turns: words in them steer the mock."""
        return [turn.text for turn in self.turns if turn.role not in _SYSTEM]

    @property
    def users(self) -> list[str]:
        """The texts of the user's turns."""
        return [turn.text for turn in self.turns if turn.role == "user"]

    @property
    def results(self) -> list[str]:
        """The results of tools since the user's last turn."""
        last_user = max((i for i, turn in enumerate(self.turns) if turn.role == "user"), default=-1)
        return [turn.text for turn in self.turns[last_user + 1 :] if turn.role == "tool"]


def named_tier(request: dict[str, Any]) -> str | None:
    """The service tier that the request asks for; None for `auto`, which leaves it to the provider."""
    tier = request.get("service_tier")
    return tier if isinstance(tier, str) and tier != "auto" else None
