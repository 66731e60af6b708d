"""The mock's batch jobs by themselves: whatever is done to them and whenever, their counts add up."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.documents import sections
from support.paths import MANUAL

from crewrun.mock.batch_jobs import Jobs
from crewrun.mock.clock import MockClock, read_advance
from crewrun.mock.job import WINDOW_S, Job, JobLine, JobStatus, LineState
from crewrun.mock.job_faults import FAULTS, JobFaults, parse_fault, read_faults
from crewrun.mock.multipart import read_form
from crewrun.mock.replies import MockReply

NEXT = {
    JobStatus.VALIDATING: {JobStatus.IN_PROGRESS, JobStatus.CANCELLING, JobStatus.FAILED},
    JobStatus.IN_PROGRESS: {JobStatus.FINALIZING, JobStatus.CANCELLING, JobStatus.EXPIRED},
    JobStatus.FINALIZING: {JobStatus.COMPLETED, JobStatus.EXPIRED},
    JobStatus.CANCELLING: {JobStatus.CANCELLED},
}
WORDS = st.sampled_from(["owls", "owls", "owls", "FAIL-LOST", "FAIL-EXPIRED", "FAIL-HANG"])
STEPS = st.one_of(
    st.tuples(st.just("create"), st.lists(WORDS, min_size=1, max_size=8)),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("advance"), st.floats(0, 2000) | st.just(100_000.0)),
)


class Book:
    """What was billed and which jobs have ended, as told by the jobs."""

    def __init__(self, latency_s: float = 1000.0) -> None:
        self.billed: Counter[tuple[str, str]] = Counter()
        self.ended: Counter[str] = Counter()
        self.clock = MockClock()
        self.jobs = Jobs("job_", self.clock, JobFaults({}), latency_s, seed=1)

    def create(self, words: list[str]) -> Job:
        lines = [JobLine(str(n), {"text": word}) for n, word in enumerate(words)]
        return self.jobs.create(lines, lambda line: [line.request["text"]], self.answer, self.end, {})

    def answer(self, job_id: str, line: JobLine) -> MockReply:
        self.billed[job_id, line.custom_id] += 1
        return MockReply(200, b"{}")

    def end(self, job: Job) -> None:
        self.ended[job.id] += 1


def check(book: Book, job: Job, before: tuple[JobStatus, int]) -> None:
    """A job only goes forward, each line is billed at most once, and none waits in a job that has ended."""
    answered = job.count(LineState.ANSWERED)
    billed = [n for (job_id, _), n in book.billed.items() if job_id == job.id]
    assert (len(billed), set(billed) <= {1}) == (answered, True)
    assert sum(job.count(state) for state in LineState) == len(job.lines)
    assert answered >= before[1]
    if job.status.has_ended:
        assert (job.count(LineState.WAITING, LineState.STUCK), book.ended[job.id]) == (0, 1)
        assert all(line.request == {} for line in job.lines)  # what is no longer needed takes no memory
    else:
        assert book.ended[job.id] == 0
    assert job.status in reachable(before[0])
    assert list(job.reached_s.values()) == sorted(job.reached_s.values())


def reachable(status: JobStatus) -> set[JobStatus]:
    """The statuses that may come after this one, and itself."""
    return {status}.union(*(reachable(after) for after in NEXT.get(status, ())))


@given(st.lists(STEPS, max_size=25))
def test_the_counts_of_jobs_add_up_whatever_happens(steps: list[tuple[str, object]]) -> None:
    """Any order of creating, cancelling and moving the clock."""
    book = Book()
    for step in steps:
        jobs = book.jobs.newest_first()
        before = {job.id: (job.status, job.count(LineState.ANSWERED)) for job in jobs}
        match step:
            case ("create", list() as words):
                book.create(words)
            case ("cancel", int() as number) if number < len(jobs):
                book.jobs.cancel(jobs[number])
            case ("advance", float() as seconds):
                book.clock.advance(seconds)
        for job in book.jobs.newest_first():
            check(book, job, before.get(job.id, (JobStatus.VALIDATING, 0)))


def test_a_job_that_takes_longer_than_its_window_expires() -> None:
    """With the lines that were answered by then; it goes on whenever somebody looks for it."""
    book = Book(latency_s=2 * WINDOW_S)
    job = book.create(["owls"] * 100)
    book.clock.advance(WINDOW_S - 1)
    assert book.jobs.find(job.id) is job
    assert job.status is JobStatus.IN_PROGRESS
    book.clock.advance(1)
    book.jobs.find(job.id)
    # 24 hours of 48, without the first and the last tenth.
    assert (job.status, job.count(LineState.ANSWERED), job.count(LineState.EXPIRED)) == (JobStatus.EXPIRED, 50, 50)


def test_a_job_without_latency_is_done_at_the_first_look() -> None:
    """And was validating when it was made."""
    book = Book(latency_s=0.0)
    job = book.create(["owls"])
    assert job.status is JobStatus.VALIDATING
    book.jobs.find(job.id)
    assert (job.status, job.count(LineState.ANSWERED)) == (JobStatus.COMPLETED, 1)


def test_a_cancelled_job_has_no_line_that_expired() -> None:
    """Not even one that would have."""
    book = Book()
    job = book.create(["FAIL-EXPIRED", "FAIL-HANG", "owls", "FAIL-LOST"])
    book.jobs.cancel(job)
    book.clock.advance(1000)
    book.jobs.find(job.id)
    assert (job.status, job.count(LineState.CANCELLED), job.count(LineState.LOST)) == (JobStatus.CANCELLED, 3, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("losses", "no fault is called 'losses': there are invalid, "),
        ("lost-lines", "lost-lines needs a value, such as lost-lines=0.1"),
        ("lost-lines=2", "lost-lines: 2.0 is no fraction from 0 to 1"),
        ("lost-create=many", "'many' is no number"),
        ("lost-create=-1", "lost-create: -1.0 is no number from 0"),
        ("slow-content=nan", "slow-content: nan is no number from 0"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    """With the faults that there are, or what its value has to be."""
    with pytest.raises(ValueError, match=re.escape(f"{text!r}: {message}")):
        parse_fault(text)


def test_a_fault_happens_as_often_as_it_was_asked_for() -> None:
    """A number of times, always, or no longer."""
    faults = JobFaults(dict([parse_fault("lost-create=2"), parse_fault("shuffle")]))
    assert [faults.take("lost-create") for _ in range(3)] == [True, True, False]
    assert (faults.is_on("shuffle"), faults.report()["shuffle"]) == (True, True)
    faults.change(read_faults(b'{"shuffle": null, "gone": true}'))
    assert (faults.is_on("shuffle"), faults.report()["gone"], faults.take("gone")) == (False, True, True)


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"{", b'{"advance_s": -1}', b'{"advance_s": true}', b'{"advance_s": 1e12}']
)
def test_the_clock_only_moves_forward(body: bytes) -> None:
    """What else is asked of it is refused."""
    with pytest.raises(ValueError, match=r"JSON|advance_s"):
        read_advance(body)


@given(st.binary(max_size=200))
def test_a_form_has_the_file_as_it_was_sent(content: bytes) -> None:
    """Line ends and all."""
    body = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + content + b"\r\n--x--\r\n"
    )
    form = read_form("multipart/form-data; boundary=x", body)
    assert (form["purpose"].content, form["file"].filename, form["file"].content) == (b"batch", "a.jsonl", content)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nhalf'),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nhalf\r\n--x--"),
    ],
)
def test_what_is_no_whole_form_is_refused(content_type: str, body: bytes) -> None:
    """An upload that was cut off must not become half a file."""
    with pytest.raises(ValueError, match="form"):
        read_form(content_type, body)


def test_the_manual_has_each_fault() -> None:
    """In its table, and no others."""
    table = sections(MANUAL / "mock-server.md")["Batch jobs"]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == list(FAULTS)
