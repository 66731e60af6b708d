"""Batch jobs of `crewrun mock` on OpenAI's wire, with the official SDK as the client."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from openai import APIConnectionError, BadRequestError, ConflictError, InternalServerError, NotFoundError, OpenAI
from openai.types import Batch
from support.mock_process import MockProcess

MODEL = "gpt-4.1-mini"
DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def process() -> Iterator[MockProcess]:
    """Its jobs take a thousand seconds, which pass only when a test says so."""
    with MockProcess("--batch-latency", "1000") as mock:
        yield mock


@pytest.fixture
def mock(process: MockProcess) -> Iterator[MockProcess]:
    """A mock with an empty ledger, which loses its faults afterwards."""
    process.clear()
    yield process
    process.set_batch_faults(dict.fromkeys(process.batch_faults()))


@pytest.fixture(scope="module")
def client(process: MockProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=process.base_url, api_key="sk-test", max_retries=0) as client:
        yield client


def body_of(prompt: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}


def lines_of(prompts: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"custom_id": f"row-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body_of(prompt)}
        for n, prompt in enumerate(prompts, 1)
    ]


def upload(client: OpenAI, lines: Sequence[Any]) -> str:
    content = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    return client.files.create(file=("rows.jsonl", content.encode()), purpose="batch").id


def create(client: OpenAI, lines: Sequence[Any], **fields: Any) -> Batch:
    file_id = upload(client, lines)
    return client.batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h", **fields
    )


def end(mock: MockProcess, client: OpenAI, batch: Batch, seconds: float = 1000) -> Batch:
    mock.advance(seconds)
    return client.batches.retrieve(batch.id)


def results(client: OpenAI, batch: Batch) -> dict[str, Any]:
    """The lines of both files by custom_id, in their order."""
    files = [file_id for file_id in (batch.output_file_id, batch.error_file_id) if file_id]
    lines = [json.loads(line) for file_id in files for line in client.files.content(file_id).text.splitlines()]
    return {line["custom_id"]: line for line in lines}


def counts(batch: Batch) -> tuple[int, int, int]:
    assert batch.request_counts
    return batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed


def test_a_job_goes_from_file_to_results_as_the_clock_is_moved(mock: MockProcess, client: OpenAI) -> None:
    """Through all its states, with the answers that live calls get, at half of their price."""
    prompts = ["owls", "bats", "moths"]
    batch = create(client, lines_of(prompts), metadata={"run": "night"})
    seen = [batch.status, *(end(mock, client, batch, seconds).status for seconds in (101, 300, 500, 100))]
    done = client.batches.retrieve(batch.id)
    assert seen == ["validating", "in_progress", "in_progress", "finalizing", "completed"]
    assert (done.metadata, counts(done), done.error_file_id) == ({"run": "night"}, (3, 3, 0), None)
    assert done.created_at < (done.in_progress_at or 0) < (done.finalizing_at or 0) < (done.completed_at or 0)
    answers = results(client, done)
    live = [client.chat.completions.create(**body_of(prompt)) for prompt in prompts]
    texts = {f"row-{n}": reply.choices[0].message.content for n, reply in enumerate(live, 1)}
    assert {name: line["response"]["body"]["choices"][0]["message"]["content"] for name, line in answers.items()} == (
        texts
    )
    assert {(line["response"]["status_code"], line["error"]) for line in answers.values()} == {(200, None)}
    totals = mock.ledger()["totals"]
    tiers = totals["tiers"]
    assert tiers["batch"]["cost_usd"] == pytest.approx(tiers["standard"]["cost_usd"] / 2)
    assert (totals["lines"], totals["lines_billed_twice"], totals["billed_twice"]) == (3, 0, 3)
    rows = mock.ledger()["requests"]
    assert [(row["tier"], row["custom_id"], row["job"]) for row in rows[:2]] == [
        ("batch", "row-1", batch.id),
        ("batch", "row-2", batch.id),
    ]


def test_words_in_prompts_decide_how_a_line_ends(mock: MockProcess, client: OpenAI) -> None:
    """All forms that a result can have: an answer, a status with its body, no JSON, an error without response, none."""
    words = ["owls", "FAIL-400", "FAIL-500", "FAIL-ONCE", "FAIL-GARBAGE", "FAIL-LOST", "FAIL-CUT", "FAIL-EXPIRED"]
    done = end(mock, client, create(client, lines_of(words)))
    answers = results(client, done)
    assert {name: (line["response"] or {}).get("status_code") for name, line in answers.items()} == {
        "row-1": 200,
        "row-5": 200,
        "row-2": 400,
        "row-3": 500,
        "row-4": 429,
        "row-8": None,
    }
    assert answers["row-2"]["error"] is None
    assert answers["row-2"]["response"]["body"]["error"]["type"] == "invalid_request_error"
    assert answers["row-5"]["response"]["body"].startswith("<html>")
    assert answers["row-8"]["error"]["code"] == "batch_expired"
    assert (done.status, counts(done)) == ("expired", (8, 2, 4))
    # What was answered is billed, also where the answer is lost.
    assert mock.ledger()["totals"]["billed"] == 3


def test_a_line_that_hangs_expires_with_the_window(mock: MockProcess, client: OpenAI) -> None:
    """The others are given and billed."""
    batch = create(client, lines_of(["owls", "FAIL-HANG"]))
    assert end(mock, client, batch, DAY_S / 2).status == "in_progress"
    done = end(mock, client, batch, DAY_S / 2)
    assert (done.status, done.expired_at, list(results(client, done))) == (
        "expired",
        done.expires_at,
        ["row-1", "row-2"],
    )
    assert mock.ledger()["totals"]["billed"] == 1


def test_a_cancelled_job_has_what_was_done_by_then(mock: MockProcess, client: OpenAI) -> None:
    """Half of the lines have answers, the others were cancelled and are not billed; it cannot be cancelled again."""
    batch = create(client, lines_of([f"row {n}" for n in range(10)]))
    mock.advance(500)
    assert client.batches.cancel(batch.id).status == "cancelling"
    done = end(mock, client, batch)
    answers = results(client, done)
    succeeded = [name for name, line in answers.items() if line["response"]]
    assert (done.status, len(answers), counts(done)) == ("cancelled", 10, (10, len(succeeded), 10 - len(succeeded)))
    assert 4 <= len(succeeded) <= 6
    assert {line["error"]["code"] for line in answers.values() if line["error"]} == {"batch_cancelled"}
    assert mock.ledger()["totals"]["billed"] == len(succeeded)
    with pytest.raises(ConflictError):
        client.batches.cancel(batch.id)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        pytest.param([], ("empty_file", None, None), id="empty"),
        pytest.param(["{\n"], ("invalid_json_line", 1, None), id="no JSON"),
        pytest.param(lines_of(["a"]) * 2, ("duplicate_custom_id", 2, "custom_id"), id="duplicate"),
        pytest.param([{"custom_id": "a"}], ("missing_required_parameter", 1, "method"), id="no method"),
        pytest.param([lines_of(["a"])[0] | {"url": "/v1/other"}], ("invalid_url", 1, "url"), id="another URL"),
        pytest.param(
            [*lines_of(["a"]), {**lines_of(["a"])[0], "custom_id": "b", "body": {"model": "other"}}],
            ("mismatched_model", 2, "model"),
            id="two models",
        ),
    ],
)
def test_a_file_that_is_wrong_fails_the_job(
    mock: MockProcess, client: OpenAI, lines: Sequence[Any], error: tuple[Any, ...]
) -> None:
    """After a create that succeeds, with the line, and without files or costs."""
    batch = create(client, lines)
    assert (batch.status, batch.errors) == ("validating", None)
    done = end(mock, client, batch)
    assert done.errors
    assert done.errors.data
    assert [(one.code, one.line, one.param) for one in done.errors.data] == [error]
    assert (done.status, done.output_file_id, done.error_file_id) == ("failed", None, None)
    assert mock.ledger()["totals"]["requests"] == 0


def test_validation_can_be_made_to_fail_at_a_line(mock: MockProcess, client: OpenAI) -> None:
    """Which is not wrong at all."""
    mock.set_batch_faults({"invalid": 2})
    done = end(mock, client, create(client, lines_of(["a", "b", "c"])))
    assert done.errors
    assert done.errors.data
    assert [(one.code, one.line) for one in done.errors.data] == [("invalid_request", 2)]


def test_the_enqueued_limit_fails_a_job_until_others_have_ended(mock: MockProcess, client: OpenAI) -> None:
    """A create succeeds, then the job fails, and nothing is billed for it."""
    mock.set_batch_faults({"enqueued": 100})
    first, second = (create(client, lines_of(["x" * 240])) for _ in range(2))
    failed = end(mock, client, second, 200)
    assert failed.errors
    assert failed.errors.data
    assert (failed.status, failed.errors.data[0].code) == ("failed", "token_limit_exceeded")
    assert end(mock, client, first).status == "completed"
    assert end(mock, client, create(client, lines_of(["x" * 240]))).status == "completed"
    assert mock.ledger()["totals"]["lines"] == 2


def test_a_share_of_the_lines_is_lost_or_expires(mock: MockProcess, client: OpenAI) -> None:
    """Lost ones are nowhere and not billed."""
    mock.set_batch_faults({"lost-lines": 0.3, "expired-lines": 0.3})
    done = end(mock, client, create(client, lines_of([f"row {n}" for n in range(60)])))
    answers = results(client, done)
    billed = mock.ledger()["totals"]["billed"]
    assert (done.status, 30 < len(answers) < 55) == ("expired", True)
    assert counts(done) == (60, billed, len(answers) - billed)
    assert 12 < billed < 40
    mock.set_batch_faults({"lost-lines": 0.5, "expired-lines": 0.5})
    end(mock, client, create(client, lines_of([f"row {n}" for n in range(60)])))
    assert mock.ledger()["totals"]["billed"] == billed


def test_results_come_in_another_order(mock: MockProcess, client: OpenAI) -> None:
    """Of the same lines."""
    mock.set_batch_faults({"shuffle": True})
    done = end(mock, client, create(client, lines_of([f"row {n}" for n in range(20)])))
    names = [f"row-{n}" for n in range(1, 21)]
    assert (list(results(client, done)) == names, sorted(results(client, done)) == sorted(names)) == (False, True)


def test_a_job_that_never_ends_can_be_cancelled(mock: MockProcess, client: OpenAI) -> None:
    """After days it is in progress, with all of its lines answered."""
    mock.set_batch_faults({"never-ends": True})
    batch = create(client, lines_of(["a", "b"]))
    assert end(mock, client, batch, 3 * DAY_S).status == "in_progress"
    client.batches.cancel(batch.id)
    done = end(mock, client, batch)
    assert (done.status, counts(done)) == ("cancelled", (2, 2, 0))


def test_a_job_can_complete_without_files(mock: MockProcess, client: OpenAI) -> None:
    """As some do; where every request failed there is an error file alone."""
    failed = end(mock, client, create(client, lines_of(["FAIL-500"])))
    assert (failed.status, failed.output_file_id, bool(failed.error_file_id)) == ("completed", None, True)
    mock.set_batch_faults({"no-output": True})
    done = end(mock, client, create(client, lines_of(["a"])))
    assert (done.status, done.output_file_id, done.error_file_id) == ("completed", None, None)


def test_a_lost_reply_to_create_leaves_a_job_that_the_list_has(mock: MockProcess, client: OpenAI) -> None:
    """Its metadata tells which it is, and the next create is answered."""
    mock.set_batch_faults({"lost-create": 1})
    with pytest.raises(APIConnectionError):
        create(client, lines_of(["a"]), metadata={"intent": "42"})
    [orphan] = [batch for batch in client.batches.list(limit=1).data if batch.metadata == {"intent": "42"}]
    assert end(mock, client, orphan).status == "completed"
    assert create(client, lines_of(["a"])).status == "validating"


def test_a_create_can_be_refused(mock: MockProcess, client: OpenAI) -> None:
    """With a 503, and then no job is made."""
    count = len(client.batches.list(limit=100).data)
    mock.set_batch_faults({"refused-create": 1})
    with pytest.raises(InternalServerError):
        create(client, lines_of(["a"]))
    assert len(client.batches.list(limit=100).data) == count


@pytest.mark.parametrize(("fault", "stored"), [("cut-upload", 0), ("lost-upload", 1)])
def test_an_upload_can_break(mock: MockProcess, client: OpenAI, fault: str, stored: int) -> None:
    """Before the file is stored, or after it."""
    count = len(list(client.files.list()))
    mock.set_batch_faults({fault: 1})
    with pytest.raises(APIConnectionError):
        upload(client, lines_of(["a"]))
    assert len(list(client.files.list())) == count + stored


def test_results_can_be_gone_break_off_and_come_slowly(mock: MockProcess, client: OpenAI) -> None:
    """Each as often as it was asked for, then they are whole."""
    done = end(mock, client, create(client, lines_of([f"row {n}" for n in range(5)])))
    mock.set_batch_faults({"gone": 1})
    with pytest.raises(NotFoundError):
        results(client, done)
    mock.set_batch_faults({"cut-content": 1})
    with pytest.raises(APIConnectionError):
        results(client, done)
    mock.set_batch_faults({"slow-content": 0.01})
    assert len(results(client, done)) == 5


def test_files_can_be_listed_read_and_deleted(mock: MockProcess, client: OpenAI) -> None:
    """As any client does with what it no longer needs."""
    file_id = upload(client, lines_of(["a"]))
    file = client.files.retrieve(file_id)
    assert (file.filename, file.purpose, file.bytes) == (
        "rows.jsonl",
        "batch",
        len(client.files.content(file_id).content),
    )
    assert client.files.list(limit=1).data[0].id == file_id
    assert client.files.delete(file_id).deleted
    with pytest.raises(NotFoundError):
        client.files.retrieve(file_id)
    with pytest.raises(BadRequestError):
        client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")


def test_the_list_of_jobs_goes_page_by_page(mock: MockProcess, client: OpenAI) -> None:
    """The newest first, each once."""
    created = [create(client, lines_of(["a"])).id for _ in range(5)]
    listed = [batch.id for batch in client.batches.list(limit=2)]
    assert listed[:5] == created[::-1]
    assert len(listed) == len(set(listed))
    with pytest.raises(BadRequestError):
        client.batches.list(limit=0)
    with pytest.raises(NotFoundError):
        client.batches.retrieve("batch_nobody")


def test_embeddings_can_be_a_job(mock: MockProcess, client: OpenAI) -> None:
    """At their endpoint; another kind of endpoint is refused at once."""
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "owls"}}
    file_id = upload(client, [line])
    batch = client.batches.create(input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h")
    answer = results(client, end(mock, client, batch))["a"]["response"]["body"]
    assert answer["data"][0]["object"] == "embedding"
    with pytest.raises(BadRequestError):
        client.batches.create(input_file_id=file_id, endpoint="/v1/completions", completion_window="24h")
