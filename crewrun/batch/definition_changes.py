"""`changes`: in words, what distinguishes two definitions of one run, and so why rows that are done run again."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from crewrun.batch.crew_parts import ORDER, Parts
from crewrun.batch.definition_records import DefinitionRecord

OTHER_ADDRESS = "another base_url"
_NOT_KNOWN = "why is not known"
_CREW_CHANGED = "the crew changed, where is not known"
_MAX_CHANGES = 3  # as many as fit on a line or two


class _Model(NamedTuple):
    """A `describe_endpoint` without secrets."""

    transport_name: str
    provider: str
    model: str
    base_url: str | None
    params: Any

    @property
    def name(self) -> str:
        return self.model if self.transport_name == "offline" else f"{self.provider}/{self.model}"


def changes(before: DefinitionRecord | None, now: DefinitionRecord) -> list[str]:
    """What has changed since `before` (None: nothing is known of it), as phrases; at least one."""
    if before is None:
        return [_NOT_KNOWN]
    models = _model_changes(before.endpoints, now.endpoints)
    parts = _part_changes(before, now, with_llms=not models)
    if not parts and not models and before.crew and before.crew != now.crew:
        parts = [_CREW_CHANGED]  # such as code that no part has, or another version of crewrun
    phrases = [*parts, *models, *_constant_changes(before, now)]
    if len(phrases) > _MAX_CHANGES:
        phrases = [*phrases[:_MAX_CHANGES], f"{len(phrases) - _MAX_CHANGES} more changes"]
    return phrases or [_NOT_KNOWN]


def changed_owners(before: DefinitionRecord | None, now: DefinitionRecord) -> set[str] | None:
    """The agents and tasks that have changed, as the parts name them; None if anything else has, or it is not known."""
    if before is None or before.parts is None or now.parts is None or before.crew == now.crew:
        return None
    if _model_changes(before.endpoints, now.endpoints) or _constant_changes(before, now):
        return None
    old, new = before.parts, now.parts
    owners = {owner for owner in old.keys() | new.keys() if old.get(owner) != new.get(owner)}
    is_of_tasks = all(owner.startswith(("agent ", "task ")) for owner in owners) and old.keys() == new.keys()
    return owners if owners and is_of_tasks else None


def _part_changes(before: DefinitionRecord, now: DefinitionRecord, *, with_llms: bool) -> list[str]:
    if before.parts is not None and now.parts is not None:
        old, new = before.parts, now.parts
    else:
        old, new = before.text_parts or {}, now.text_parts or {}
    if not old or before.crew == now.crew:
        return []
    phrases = []
    if any(owner.startswith("task ") for owner in old.keys() ^ new.keys()):
        old, new = _without(old, ORDER), _without(new, ORDER)
    for owner in [*new, *(owner for owner in old if owner not in new)]:
        phrases += _changes_of(owner, old, new, with_llms=with_llms)
    return phrases


def _without(parts: Parts, name: str) -> Parts:
    return {owner: {field: fields[field] for field in fields if field != name} for owner, fields in parts.items()}


def _changes_of(owner: str, old: Parts, new: Parts, *, with_llms: bool) -> list[str]:
    if owner not in old or owner not in new:
        return [f"{owner} {'added' if owner in new else 'removed'}"]
    before, now = old[owner], new[owner]
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    if not with_llms:
        names = [name for name in names if name not in ("llm", "manager_llm")]
    return [f"{name} of {owner} changed" if name else f"{owner} changed" for name in names]


def _model_changes(before: Sequence[str] | None, now: Sequence[str] | None) -> list[str]:
    """How the models differ: in their parameters, in their addresses, or in what they are."""
    if before is None or now is None:
        return []
    gone = [model for one in before if one not in now and (model := _model_of(one))]
    added = [model for one in now if one not in before and (model := _model_of(one))]
    phrases = []
    for model in list(added):
        twin = next((other for other in gone if other[:3] == model[:3]), None)
        if twin is None:
            continue
        gone.remove(twin)
        added.remove(model)
        if twin.base_url != model.base_url:
            phrases.append(f"{OTHER_ADDRESS}: {_address(model)}, before {_address(twin)}")
        if names := _differing(twin.params, model.params):
            phrases.append(f"parameters of {model.name} changed: {', '.join(names)}")
    if added or gone:
        was, is_now = (" and ".join(dict.fromkeys(model.name for model in models)) for models in (gone, added))
        phrases.append(f"another model: {is_now or 'one less'}{f', before {was}' if was else ''}")
    return list(dict.fromkeys(phrases))


def _constant_changes(before: DefinitionRecord, now: DefinitionRecord) -> list[str]:
    constants = _differing(dict(before.constants), dict(now.constants))
    columns = _differing(dict(before.columns), dict(now.columns))
    return [*(f"another -i {name}" for name in constants), *(f"another --map {name}" for name in columns)]


def _model_of(endpoint: str) -> _Model | None:
    try:
        return _Model(*json.loads(endpoint))
    except (ValueError, TypeError):
        return None


def _address(model: _Model) -> str:
    return model.base_url or "its provider's own"


def _differing(one: Any, other: Any) -> list[str]:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return [] if one == other else ["all"]
    return sorted(n for n in {*one, *other} if (n in one, one.get(n)) != (n in other, other.get(n)))
