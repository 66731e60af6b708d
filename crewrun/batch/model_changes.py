"""`warn_of_changed_models`: warns when a user's own model class has changed, since every row is then paid for again.

That is right after an intended change. But a clock or a random id in a public attribute differs in each session.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from warnings import warn

from crewrun.errors import CrewrunWarning, UsageError
from crewrun.runs.folder import RunFolder
from crewrun.runs.manifest import read_manifest


class _Model(NamedTuple):
    name: str
    attributes: dict[str, Any]


def warn_of_changed_models(folder: RunFolder, endpoints: Sequence[str]) -> None:
    """Warn (CrewrunWarning) of attributes in which `endpoints`, as a manifest has them, differ from the run's."""
    if not folder.is_used:
        return
    try:
        previous = read_manifest(folder.manifest).definition.get("endpoints")
    except UsageError:  # opening the run reports it
        return
    if not isinstance(previous, list):
        return
    replaced = [_custom(str(endpoint)) for endpoint in previous if endpoint not in endpoints]
    for model in (_custom(endpoint) for endpoint in endpoints if endpoint not in previous):
        match = next((other for other in replaced if model and other and _is_same_code(other, model)), None)
        if model is None or match is None:
            continue
        names = [name for name, value in model.attributes.items() if match.attributes.get(name) != value]
        if names:
            is_one = len(names) == 1
            warn(
                f"{model.name}: {', '.join(map(repr, names))} {'is' if is_one else 'are'} not what "
                f"{'it was' if is_one else 'they were'} in this run's last session, so every row runs again, and is "
                "paid for again; keep what decides no answer, such as a clock or a random id, in attributes that begin "
                "with _",
                CrewrunWarning,
                stacklevel=2,
            )


def _is_same_code(one: _Model, other: _Model) -> bool:
    return one.name == other.name and one.attributes.get("code") == other.attributes.get("code")


def _custom(endpoint: str) -> _Model | None:
    """Name and attributes from `describe_endpoint` of a user's own model, None for any other."""
    try:
        transport_name, provider, model, _, attributes = json.loads(endpoint)
    except (ValueError, TypeError):
        return None
    return (
        _Model(f"{provider}/{model}", attributes)
        if transport_name == "custom" and isinstance(attributes, dict)
        else None
    )
