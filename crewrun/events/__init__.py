"""CrewAI's events, for projects that listen to them: `crewai_event_bus`, `BaseEventListener` and the events.

`crewrun.row_events` is where they come from, `translation` makes CrewAI's events of those, `event_bus` has the
handlers, and `delivery` calls them. `names` lists CrewAI's events; the ones that crewrun does not send are in
`never_sent`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crewrun.events.names import SENT

if TYPE_CHECKING:
    from crewrun.events.base_event_listener import BaseEventListener
    from crewrun.events.base_events import BaseEvent
    from crewrun.events.event_bus import CrewAIEventsBus, crewai_event_bus

__all__ = ["BaseEvent", "BaseEventListener", "CrewAIEventsBus", "crewai_event_bus"]

_HOMES = {name: module for module, names in SENT.items() for name in names}


def __getattr__(name: str) -> Any:
    """Classes are made when they are imported: pydantic takes a while for all of them."""
    if name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name.endswith("Event"):
        value = getattr(import_module(f"{__name__}.never_sent"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
