"""What providers of batch jobs send, read without trust: lists that loop, dates, lines that are cut or half a pair."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from support.job_http import served

from crewrun.journal.database import open_journal
from crewrun.journal.jobs import JournalJobs
from crewrun.journal.writer import JournalWriter
from crewrun.llm.batch_jobs.anthropic_api import AnthropicBatches
from crewrun.llm.batch_jobs.entries import read_line, unix_time
from crewrun.llm.batch_jobs.job import Job, JobState, Line, LineEnd, LineResult
from crewrun.llm.batch_jobs.openai_api import OpenAIBatches
from crewrun.llm.batch_jobs.store import StoredJob, StoredLine


def entry(number: int, created_at: Any = 1000) -> dict[str, Any]:
    return {"id": f"batch_{number}", "status": "in_progress", "created_at": created_at}


def listed(*entries: Any, has_more: bool = True) -> list[str]:
    """The ids of the jobs since 900 of a provider that has always the same page."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"data": list(entries), "has_more": has_more})

    async def ask() -> list[str]:
        async with served(answer) as http:
            with anyio.fail_after(5):
                return [job.id async for job in OpenAIBatches(http).jobs(900)]

    return anyio.run(ask)


def test_a_list_that_has_the_same_page_again_and_again_ends() -> None:
    """A server may ignore `after`."""
    assert listed(entry(1), entry(2)) == ["batch_1", "batch_2"]


def test_a_list_that_begins_with_old_jobs_has_the_later_ones_too() -> None:
    """Not every server sorts as OpenAI does, and a job that is not found is paid again."""
    assert listed(entry(1, 100), entry(2, 950)) == ["batch_2"]


@pytest.mark.parametrize(
    "other", [None, 5, "x", {}, {"id": "a", "status": "completed", "created_at": "soon"}, entry(2, 10**400)]
)
def test_a_job_of_somebody_else_that_cannot_be_read_hides_no_other(other: Any) -> None:
    """Nor does it end the run."""
    assert listed(other, entry(1), has_more=False) == ["batch_1"]


@pytest.mark.parametrize("status", [10**30, -1, 0, 700], ids=str)
def test_a_line_with_a_status_that_is_none_failed_at_the_server(status: int) -> None:
    """It may be refused for nothing, and the journal has room for it."""
    line = {"custom_id": "1", "response": {"status_code": status, "body": {}}, "error": None}

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(line)

    async def read() -> list[LineResult]:
        async with served(answer) as http:
            job = Job("b", JobState.COMPLETED, 0.0, results=("/file",))
            return [result async for result in OpenAIBatches(http).results(job)]

    assert anyio.run(read) == [LineResult("1", LineEnd.REFUSED, 500, b"{}")]


def test_times_are_seconds_or_milliseconds_or_dates() -> None:
    """All of them are seen on OpenAI's wire."""
    for value in (1_700_000_000, "1700000000", 1_700_000_000_000, "2023-11-14T22:13:20Z"):
        assert unix_time(value) == 1_700_000_000


def test_a_line_with_half_a_surrogate_pair_is_read() -> None:
    """An answer that was cut off may end in the middle of an emoji."""
    result = read_line(b'{"id": "a\\ud83d"}', lambda entry: LineResult("1", LineEnd.ANSWERED, 200, b"%d" % len(entry)))
    assert result.body == b"1"


@pytest.mark.parametrize("line", [b'{"custom_id": "1", "resp', b"<html>", b"[]", b"\xff"])
def test_a_line_that_cannot_be_read_is_none_of_ours(line: bytes) -> None:
    """It does not keep the others from being read."""
    assert not read_line(line, lambda entry: LineResult("1", LineEnd.ANSWERED)).custom_id


def test_a_message_batch_is_sent_as_json() -> None:
    """Not as bytes of some kind."""
    types: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        types.append(request.headers["Content-Type"])
        assert json.loads(await request.read())["requests"][0]["custom_id"] == "1"
        return web.json_response(
            {"id": "b", "processing_status": "in_progress", "created_at": "2026-01-01T00:00:00Z", "request_counts": {}}
        )

    async def create() -> JobState:
        async with served(answer) as http:
            api = AnthropicBatches(http)
            return (await api.create(await api.upload([Line("1", b"{}")], "1"), {})).state

    assert (anyio.run(create), types) == (JobState.PENDING, ["application/json"])


def test_an_answer_stays_whatever_else_a_provider_says_of_its_line(tmp_path: Path) -> None:
    """It was billed, and the line is not sent again."""
    line_id = f"{7:032x}"

    async def keep() -> LineResult:
        db = open_journal(tmp_path / "journal.db", expected=False)
        writer = JournalWriter(db, tmp_path / "journal.db", 1, lambda lines: None, lambda: None)
        jobs = JournalJobs(writer, 1)
        job = await jobs.intend(StoredJob(0, "i", "r", 0.0, 1), [StoredLine(line_id, None)])
        await jobs.keep(job.number, [LineResult(line_id, LineEnd.ANSWERED, 200, b"{}")])
        await jobs.keep(job.number, [LineResult(line_id, LineEnd.EXPIRED), LineResult("", LineEnd.EXPIRED)])
        results = await jobs.results(job.number, [line_id])
        await writer.close(None, 0)
        return results[line_id]

    assert anyio.run(keep).end is LineEnd.ANSWERED
    assert sqlite3.connect(tmp_path / "journal.db").execute("select count(*) from job_lines").fetchone() == (1,)
