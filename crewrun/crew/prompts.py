"""The texts of prompts around a crew's own. An agent's prompt consists of these and nothing else, in this order.

Texts that are the same for all rows come first where the definition allows it, since providers cache common prefixes.
"""

from typing import NamedTuple, Protocol

from crewrun.llm.schema import schema_prompt
from crewrun.messages import Message, Part, in_parts

CONTEXT_SEPARATOR = "\n\n----------\n\n"
FINAL_ANSWER_NOW = (
    "You have used all the turns there are for tools. Give your complete final answer now, from what you know so far, "
    "without calling another tool."
)

_OF_A_TEXT = {"type", "text"}
_MARKDOWN = "Format the answer as Markdown, with headings, lists and tables where they help; no code fence around it."


class PersonaTexts(Protocol):
    """The three texts of an agent."""

    @property
    def role(self) -> str: ...
    @property
    def goal(self) -> str: ...
    @property
    def backstory(self) -> str: ...


class Prompt(NamedTuple):
    """One request to an agent. `context`, the earlier answers, may be shortened if the model's context is full.

    `system` is None if there is no system turn. `parts`, such as images, come between `context` and `after`.
    """

    system: str | None
    before: str
    context: str = ""
    after: str = ""
    history: tuple[Message, ...] = ()
    parts: tuple[Part, ...] = ()

    def messages(self) -> tuple[Message, ...]:
        """The first turns of the conversation."""
        user = Message("user", f"{self.before}{self.context}{self.after}") if not self.parts else self._in_parts()
        if self.system is None:
            return (*self.history, user)
        return (Message("system", self.system), *self.history, user)

    def _in_parts(self) -> Message:
        head, tail = f"{self.before}{self.context}", self.after.strip()
        before, after = [(Part.of_text(text),) if text.strip() else () for text in (head, tail)]
        parts = (*before, *self.parts, *after)
        # Plain text parts become one text, since some servers accept no parts; not those with other keys, such as
        # cache_control.
        texts = [part.text for part in parts if part.text is not None and part.wire.keys() == _OF_A_TEXT]
        if len(texts) == len(parts):
            return Message("user", "\n\n".join(texts))
        return Message("user", **in_parts(parts))


def system_prompt(persona: PersonaTexts, date: str | None = None, background: str = "") -> str:
    """The role that the model plays, and today's date if the agent wants it.

    `background` comes first: it is long and the same for all rows, while a persona may have placeholders.
    """
    text = f"{background}\n\n" if background else ""
    text += f"You are {persona.role}. {persona.backstory.strip()}\nYour personal goal: {persona.goal.strip()}"
    return f"{text}\nToday is {date}." if date else text


def user_prompt(description: str, expected_output: str, *, markdown: bool = False, schema: str | None = None) -> str:
    """The task, what the answer must satisfy, and its form."""
    prompt = (
        f"Your task: {description.strip()}\n\n"
        f"Your final answer must satisfy: {expected_output.strip()}\n"
        "Reply with the complete answer itself and nothing around it."
    )
    if markdown:
        prompt += f"\n{_MARKDOWN}"
    return f"{prompt}\n{schema_prompt(schema)}" if schema else prompt


def with_context(prompt: str) -> str:
    """`prompt` with the line that introduces earlier answers, which follow it."""
    return f"{prompt}\n\nUse what was found earlier:\n"


def with_passages(prompt: str, passages: str) -> str:
    """`prompt`, followed by passages of the agent's knowledge."""
    return f"{prompt}\n\nFrom what you know, to be used where it helps:\n<knowledge>\n{passages}\n</knowledge>"


def retry_prompt(fault: str, answer: str) -> str:
    """Tells an agent why a guardrail refused its answer, and asks for a better one."""
    return (
        f"An earlier answer of yours was not accepted: {fault}\n"
        f"That answer was:\n{answer}\n\nDo the task again, better."
    )


def judge_prompt(rule: str, description: str, answer: str) -> str:
    """Asks a model whether an answer keeps to a rule."""
    return (
        f"Judge the answer below by this rule: {rule.strip()}\n"
        "Say whether the answer keeps to the rule, and if it does not, what must change.\n\n"
        f"The task was: {description.strip()}\n\nThe answer:\n{answer}"
    )


JUDGE = "You judge whether an answer keeps to a rule. You are exact and brief, and you add no rule of your own."


def manager_texts() -> tuple[str, str, str]:
    """Role, goal and backstory of the manager of a crew with `manager_llm`."""
    return (
        "Crew Manager",
        "Get the task done as well as the crew can do it",
        "You lead a crew of specialists. You decide who does what, you give each one all that is needed to do it, "
        "you check what comes back, and you answer for the result.",
    )
