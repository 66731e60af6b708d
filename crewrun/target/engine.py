"""`current_engine`: whose classes the user's crews are made of, ours or those of an installed CrewAI."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Engine = Literal["crewrun", "crewai"]

_engine: ContextVar[Engine] = ContextVar("crewrun_engine", default="crewrun")


def current_engine() -> Engine:
    """The engine of what is loaded now."""
    return _engine.get()


@contextmanager
def loading_for(engine: Engine) -> Iterator[None]:
    """What is loaded in the block is run by `engine`."""
    token = _engine.set(engine)
    try:
        yield
    finally:
        _engine.reset(token)
