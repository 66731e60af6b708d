"""From which failure on an endpoint counts as gone: exactly, one attempt more or less."""

import pytest
import trio

from crewrun.errors import CallError, NetworkError, ServerError
from crewrun.limits.failure_evidence import FailureEvidence


def not_connected() -> CallError:
    error = NetworkError("cannot connect")
    error.__cause__ = ConnectionRefusedError()
    return error


def is_outage(error: CallError, *, firsts: int, later: int, out: int = 0) -> bool:
    """Whether it is one: `firsts` calls have failed, `later` attempts were sent after the first failure and failed,
    and `out` are still out.
    """

    async def main() -> bool:
        evidence = FailureEvidence()
        failed_at_once = max(1, firsts - later)
        before = [evidence.sent() for _ in range(failed_at_once)]
        for n, attempt in enumerate(before):
            evidence.ended()
            evidence.begin()
            evidence.add(attempt, is_first=n < firsts)
        for n in range(later):
            attempt = evidence.sent()
            evidence.ended()
            evidence.begin()
            evidence.add(attempt, is_first=n < firsts - failed_at_once)
        for _ in range(out):
            evidence.sent()
        return evidence.is_outage(error)

    return trio.run(main)


@pytest.mark.parametrize(
    ("firsts", "later", "out", "expected"),
    [
        pytest.param(2, 7, 0, True, id="two calls, seven attempts after the first failure"),
        pytest.param(2, 6, 0, False, id="six attempts"),
        pytest.param(1, 7, 0, False, id="one call"),
        pytest.param(3, 7, 2, True, id="more calls failed than are out"),
        pytest.param(3, 7, 3, False, id="as many are out"),
    ],
)
def test_5xx_make_an_outage(firsts: int, later: int, out: int, expected: bool) -> None:
    """One prompt that the provider always fails on makes none."""
    assert is_outage(ServerError("503", http_status=503), firsts=firsts, later=later, out=out) == expected


@pytest.mark.parametrize(
    ("firsts", "later", "out", "expected"),
    [
        pytest.param(1, 1, 0, True, id="one call, one attempt after the first failure"),
        pytest.param(1, 0, 0, False, id="the first failure alone"),
        pytest.param(1, 1, 1, True, id="more attempts failed than are out"),
        pytest.param(1, 1, 2, False, id="as many are out"),
        pytest.param(9, 5, 0, True, id="five attempts are enough for any number of calls"),
        pytest.param(9, 4, 0, False, id="four are not"),
    ],
)
def test_connections_that_are_not_made_make_an_outage(firsts: int, later: int, out: int, expected: bool) -> None:
    """Sooner than a 5xx: no prompt can be to blame."""
    assert is_outage(not_connected(), firsts=firsts, later=later, out=out) == expected
