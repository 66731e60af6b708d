"""Classes for the events of CrewAI's that crewrun never sends, so that modules which name them can be imported.

They take any fields, and a program may send them itself.
"""

import re
from functools import cache

from pydantic import ConfigDict

from crewrun.events.base_events import BaseEvent
from crewrun.events.names import why_never_sent


class NeverSent(BaseEvent):
    """An event that crewrun does not send. `why` is on the class."""

    model_config = ConfigDict(extra="allow")

    type: str = ""


@cache
def never_sent(name: str) -> type[NeverSent]:
    """The class of that name; the same one each time."""
    fields = {
        "__module__": __name__,
        "__doc__": f"CrewAI's event, which crewrun never sends: {why_never_sent(name)}.",
        "__annotations__": {"type": str},
        "type": re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix("Event")).lower(),
    }
    return type(name, (NeverSent,), fields)


def __getattr__(name: str) -> type[NeverSent]:
    if not name.endswith("Event"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return never_sent(name)
