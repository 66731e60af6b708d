"""The metrics of a run, where two endpoints have the same name."""

import anyio
import pytest

from crewrun.batch.metrics import MetricsWatcher
from crewrun.batch.progress import Progress
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.options import LimiterOptions
from crewrun.messages import Endpoint
from crewrun.monitoring.readings import Board

pytestmark = pytest.mark.anyio


async def test_calls_of_one_model_at_two_addresses_are_added_up() -> None:
    """Prometheus takes no two samples with the same labels."""
    limiters = LocalLimiters(LimiterOptions(rpm={"": 1}))
    board = Board()
    async with anyio.create_task_group() as calls:
        for port in (1, 2):
            limiter = limiters.of(Endpoint("direct", "openai", "m", base_url=f"http://127.0.0.1:{port}/v1"))
            assert limiter.enter_nowait(1) is not None
            calls.start_soon(limiter.enter, 1, None)
        await anyio.wait_all_tasks_blocked()
        MetricsWatcher(board, Progress(), limiters).read()
        calls.cancel_scope.cancel()
    readings = {metric.name: metric.readings for metric in board.metrics}
    assert readings["crewrun.calls.waiting"] == [({"model": "openai/m", "why": "requests"}, 2)]
    assert readings["crewrun.calls.in_flight"] == [({"model": "openai/m"}, 2)]
