"""`refuse_human_input`, for hooks that ask for human input: a run has nobody to answer."""

from typing import NoReturn

from crewrun.errors import DefinitionError


def refuse_human_input(prompt: str) -> NoReturn:
    """Raise DefinitionError."""
    raise DefinitionError(
        f"a hook asks for human input ({prompt!r:.80}), and crewrun runs where nobody answers; decide it in the hook"
    )
