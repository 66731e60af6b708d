"""What later sessions of a run did to results that a program has seen: `mark_of`, and `change_since` that mark."""

import json
from pathlib import Path
from typing import NamedTuple

from crewrun.inspect.view import View


class Mark(NamedTuple):
    """A moment between two sessions of a run. `session` is the one before it, and `log_bytes` the log's size then."""

    session: int
    started_at: float
    definition: int
    log_bytes: int


def mark_of(view: View) -> Mark | None:
    """The present moment of a run that no process is working on, None when no session of it has begun."""
    session = view.session()
    if session is None:
        return None
    log = view.folder.log
    return Mark(session.id, session.started_at, session.definition, log.stat().st_size if log.is_file() else 0)


def change_since(view: View, mark: Mark) -> str | None:
    """What has replaced results of that moment, in words; None if they are all there, whatever was added to them."""
    query = "select id, started_at, definition from sessions where id >= ? order by id"
    own, *later = view.db.execute(query, (mark.session,)).fetchall() or [(0, 0.0, 0)]
    if own[1] != mark.started_at:
        return "a later run has started over (fresh)"
    if any(definition != mark.definition for *_, definition in later):
        return "a later run with another crew or model has replaced them"
    removed = _removed(view.folder.log, mark.log_bytes) if later else 0
    if removed:
        return f"a later run with other rows has removed {'one' if removed == 1 else f'{removed:,}'} of them"
    return None


def _removed(log: Path, start: int) -> int:
    """How many results sessions have removed whose ends are in the log after `start`; 0 where it cannot be read."""
    removed = 0
    try:
        with log.open("rb") as file:
            file.seek(start)
            for line in file:
                if b'"event":"stop"' in line:
                    removed += json.loads(line).get("gone", 0)
    except (OSError, ValueError):
        return 0
    return removed
