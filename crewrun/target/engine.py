"""`current_engine`: which library's classes the user's crews are made of, ours or an installed CrewAI's."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Engine = Literal["crewrun", "crewai"]

_engine: ContextVar[Engine] = ContextVar("crewrun_engine", default="crewrun")


def current_engine() -> Engine:
    """The engine of the code that is being loaded."""
    return _engine.get()


@contextmanager
def loading_for(engine: Engine) -> Iterator[None]:
    """`engine` runs whatever is loaded in the block."""
    token = _engine.set(engine)
    try:
        yield
    finally:
        _engine.reset(token)
