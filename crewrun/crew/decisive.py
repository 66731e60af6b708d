"""`decisive`: the fields of an agent, a task or a crew that decide what it does, for its fingerprint.

Runs that were begun before there were these fields go on without paying again: where a field has no effect, or did not
exist then and is empty, the fingerprint is what it was.
"""

from typing import Any

from pydantic import BaseModel

# An embedder is known by its endpoint, which is a part of a run's identity where it is asked.
_WITHOUT_EFFECT = frozenset({"embedder", "output_log_file"})
_LATER = frozenset({"knowledge", "knowledge_sources", "knowledge_config", "skills"})


def decisive(part: BaseModel) -> dict[str, Any]:
    """The fields of `part` that are set and have an effect."""
    return {
        name: value
        for name, value in part.__dict__.items()
        if name not in _WITHOUT_EFFECT and (value or name not in _LATER)
    }
