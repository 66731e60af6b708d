"""`BaseEventListener`: a class of handlers, which register themselves when an object of it is made."""

from abc import ABC, abstractmethod
from typing import Any

from crewrun.events.event_bus import CrewAIEventsBus, crewai_event_bus


class BaseEventListener(ABC):
    """A subclass registers its handlers in `setup_listeners`, with the decorator `on` of the bus that it gets.

    Making one object is enough, also at the top of a module: `listener = MyListener()`. `verbose` has no effect.
    """

    verbose: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.setup_listeners(crewai_event_bus)
        crewai_event_bus.validate_dependencies()

    @abstractmethod
    def setup_listeners(self, crewai_event_bus: CrewAIEventsBus) -> None:
        """Register the handlers."""
