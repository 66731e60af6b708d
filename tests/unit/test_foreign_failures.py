"""Python's own timeouts and broken connections are a failed call where CrewAI raised them, and nowhere else."""

import pytest

from crewrun.errors import CallTimedOut, NetworkError
from crewrun.llm.transports.foreign_failure import cause_of

CREWAI, OWN = "/venv/lib/python3.11/site-packages/crewai/llm.py", "/home/me/crew/tool.py"


def raised(kind: type[Exception], file: str) -> Exception:
    """An error that code of `file` raised."""
    try:
        exec(compile("raise kind('no')", file, "exec"), {"kind": kind})
    except kind as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("kind", "file", "cause"),
    [
        (TimeoutError, CREWAI, CallTimedOut),
        (ConnectionResetError, CREWAI, NetworkError),
        (ValueError, CREWAI, None),
        (TimeoutError, OWN, None),
        (ConnectionResetError, OWN, None),
    ],
)
def test_whose_a_timeout_is(kind: type[Exception], file: str, cause: type[Exception] | None) -> None:
    """One of the user's own code is no failure of a provider, which would be retried."""
    found = cause_of(raised(kind, file))
    assert (None if found is None else type(found)) is cause
