"""Which failed attempts may be billed although nobody said so, and what they add up to."""

import pytest

from crewrun.errors import (
    AuthRefused,
    BadRequest,
    CallError,
    CallTimedOut,
    ContentFiltered,
    GenerationFailed,
    NetworkError,
    OutputInvalid,
    RateLimited,
    ServerError,
)
from crewrun.limits.unknown_bills import Owed, UnknownBills, may_be_billed


def refused_connection() -> CallError:
    error = NetworkError("cannot connect")
    error.__cause__ = ConnectionRefusedError()
    return error


@pytest.mark.parametrize(
    ("error", "is_billed"),
    [
        pytest.param(refused_connection(), False, id="no connection"),
        pytest.param(NetworkError("broke"), True, id="a connection that broke"),
        pytest.param(CallTimedOut("late"), True, id="too late"),
        pytest.param(ServerError("503", http_status=503), True, id="503"),
        pytest.param(GenerationFailed("no JSON", http_status=400), True, id="400 about what the model wrote"),
        pytest.param(OutputInvalid("garbled", http_status=200), True, id="a garbled reply"),
        pytest.param(ContentFiltered("filtered", http_status=200), True, id="a filtered reply"),
        pytest.param(ContentFiltered("filtered", http_status=400), False, id="a filtered prompt"),
        pytest.param(BadRequest("no", http_status=400), False, id="400"),
        pytest.param(AuthRefused("no", http_status=401), False, id="401"),
        pytest.param(RateLimited("slow", http_status=429), False, id="429"),
    ],
)
def test_an_attempt_may_be_billed(error: CallError, is_billed: bool) -> None:
    """Wherever the provider may have generated something."""
    assert may_be_billed(error) == is_billed


def test_unknown_bills_add_up_and_each_is_journaled() -> None:
    """One without a price counts as such, and not as free."""
    bills, journaled = UnknownBills(), list[Owed]()
    bills.add(1.0)
    bills.journal = journaled.append
    bills.add(None)
    bills.add(0.5)
    assert journaled == [Owed(2, 1.0, 1), Owed(3, 1.5, 1)]
    assert bills.owed == journaled[-1]
