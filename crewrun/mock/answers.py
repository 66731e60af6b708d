"""The mock's answers: the fake model's tool calls and JSON, and texts that quote the prompt.

They depend on the request alone. `server` sends them, or fails instead.
"""

from collections.abc import Sequence

from crewrun.llm.offline_model import directives
from crewrun.llm.offline_model.directives import find_directives
from crewrun.llm.offline_model.fake_model import FakeAnswer, FakeModel, Question
from crewrun.llm.offline_model.words import excerpt, observed
from crewrun.mock import faults
from crewrun.mock.chat import Chat

# Of the prompt and of tools' results: enough to see which row an answer belongs to.
_EXCERPT_CHARS = 80


def answer(chat: Chat, digest: int) -> FakeAnswer:
    """The answer to `chat`; every text contains `digest`, 32 bits of a hash of the request's body."""
    steering = find_directives(chat.steering)
    question = Question(chat.turns, chat.tools, chat.results, chat.choice, chat.wants_json, chat.schema, steering)
    return _MockModel(digest).answer(question)


class _MockModel(FakeModel):
    """Quotes the user's last turn."""

    ascii_arguments = True

    def __init__(self, digest: int) -> None:
        self._digest = digest

    def prompt(self, question: Question, *, in_words: bool) -> str:
        """The user's last turn that is not a tool's result."""
        users = reversed(question.users)
        return next((text for text in users if not (in_words and observed(text) is not None)), "")

    def quote(self, prompt: str) -> str:
        """The beginning of `prompt`, without words that would steer the next request."""
        return directives.disarm(faults.disarm(excerpt(prompt, _EXCERPT_CHARS)))

    def text(self, prompt: str, results: Sequence[str]) -> str:
        """A text that quotes the prompt and the results of tools."""
        text = f"Mock reply {self._digest:08x} to: {self.quote(prompt)}"
        return f"{text} / tools said: {self.quote(' / '.join(results))}" if results else text

    def call_id(self, number: int, position: int) -> str:
        """An id that differs in each turn, like those of real servers."""
        return f"call_mock_{number}_{position}"
