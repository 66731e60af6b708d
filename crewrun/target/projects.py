"""Classes under @CrewBase, CrewAI's or ours, and the method of such a class that makes the crew."""

from collections.abc import Sequence
from typing import Any

from crewrun.errors import DefinitionError


def is_project(value: Any) -> bool:
    """Whether `value` is a class under @CrewBase, CrewAI's or ours, or an instance of one."""
    return getattr(value, "is_crew_class", False) is True


def crew_method_of(project: Any, name: str) -> str:
    """The name of the method that makes the crew of `project`, which messages call `name`. Raises DefinitionError.

    It is `crew`, unless only another method is marked. CrewAI's classes do not say which methods are marked.
    """
    marked: Sequence[str] = getattr(project, "_crewrun_crews", ())
    if len(marked) > 1 and "crew" not in marked:
        raise DefinitionError(f"{name} has several @crew methods, {', '.join(marked)}; name the one to run `crew`")
    method = marked[0] if marked and "crew" not in marked else "crew"
    if not callable(getattr(project, method, None)):
        raise DefinitionError(f"{name} is a @CrewBase class without a @crew method, which makes the crew")
    return method
