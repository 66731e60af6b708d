"""The words around a crew's own: what an agent is told, in this order, and nothing else is.

What is the same for all rows comes first where the definition allows it, since providers cache common prefixes.
"""

from typing import Protocol

CONTEXT_SEPARATOR = "\n\n----------\n\n"


class PersonaTexts(Protocol):
    """The three texts of an agent."""

    @property
    def role(self) -> str: ...
    @property
    def goal(self) -> str: ...
    @property
    def backstory(self) -> str: ...


def system_prompt(persona: PersonaTexts) -> str:
    """Who the model is to be."""
    return f"You are {persona.role}. {persona.backstory.strip()}\nYour personal goal: {persona.goal.strip()}"


def user_prompt(description: str, expected_output: str, context: str) -> str:
    """What it is to do now: the task, what the answer must satisfy, and earlier answers to build on."""
    prompt = (
        f"Your task: {description.strip()}\n\n"
        f"Your final answer must satisfy: {expected_output.strip()}\n"
        "Reply with the complete answer itself and nothing around it."
    )
    return f"{prompt}\n\nUse what was found earlier:\n{context}" if context else prompt
