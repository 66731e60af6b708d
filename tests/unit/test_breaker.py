"""Which failures end a run, and how failures are told apart and counted."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from crewrun.batch.breaker import Breaker, Trip
from crewrun.batch.failures import MOST_GROUPS, FailureGroup, Failures, fingerprint, likely_cause
from crewrun.errors import Category
from crewrun.messages import Usage
from crewrun.row import ErrorRecord, Outcome, Replayed, Row

C = Category


def error(
    category: Category = C.TOOL, message: str = "no", *, kind: str = "Failed", status: int | None = None, **more: Any
) -> ErrorRecord:
    return ErrorRecord(category, kind, message, http_status=status, **more)


def row(row_id: str) -> Row:
    return Row(0, 1, row_id, {})


def word(n: int) -> str:
    return "".join("abcdefghij"[int(digit)] for digit in str(n))


def ended(failed: ErrorRecord | None, *, replayed: int = 0, attempts: int = 1, n: int = 0) -> Outcome:
    """A row that ended, with an error or well; so many of its attempts are an earlier session's."""
    row = Row(n, n + 1, f"row-{n}", {"topic": f"about {word(n)}"})
    before = Replayed(replayed, replayed, Usage(), 0.0) if replayed else None
    return Outcome(
        row,
        "failed" if failed else "ok",
        None,
        (),
        failed,
        attempts,
        attempts,
        Usage(),
        0.0,
        (),
        datetime.now(UTC),
        1.0,
        replayed=before,
    )


OK = ended(None)
NO = ended(error())


def trips(outcomes: Sequence[Outcome], breaker: Breaker | None = None) -> list[int]:
    """At which of these rows, in this order, the breaker says stop."""
    breaker = breaker or Breaker()
    return [i for i, outcome in enumerate(outcomes) if breaker.observe(outcome)]


def on_a_virtual_clock(main: Callable[[], Awaitable[list[float]]]) -> list[float]:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# --- the first rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", [c for c in C if c != C.INPUT])
def test_five_first_rows_that_fail_alike_stop_the_run(category: Category) -> None:
    """Whatever the category: no guardrail that works refuses everything. Digits, ids and inputs make no difference."""
    failures = [error(category, f"failed on about {word(n)}, request req_{n}abcdef", task="draft") for n in range(5)]
    breaker = Breaker()
    found = [breaker.observe(ended(failed, n=n)) for n, failed in enumerate(failures)]
    why = f"the first 5 rows all failed alike: {category} in task 'draft': failed on about e, request req_4abcdef"
    assert found == [None] * 4 + [Trip(why, category, fingerprint(failures[0], {"topic": "about a"}))]


def test_rows_that_fail_of_the_same_after_the_trip_are_told() -> None:
    """So that those in flight can be left pending as well; others end as they do."""
    other, breaker = ended(error(C.CONTENT_FILTER)), Breaker()
    first = [breaker.observe(NO) for _ in range(5)][-1]
    assert first is not None
    assert [breaker.observe(o) for o in (OK, NO, other, NO)] == [None, first, None, first]
    assert trips([NO, NO, NO, NO, NO, OK, OK, NO, other, NO]) == [4, 7, 9]


@pytest.mark.parametrize(
    "outcomes",
    [
        pytest.param([NO] * 4, id="four rows"),
        pytest.param([NO] * 4 + [OK] + [NO] * 20 + [OK] * 5, id="one good among them"),
        pytest.param([NO] * 4 + [ended(error(C.GUARDRAIL))], id="one of another kind"),
        pytest.param([OK, *[NO] * 5], id="after a good one"),
        pytest.param([ended(error(task=task)) for task in "abcde"], id="in different tasks"),
    ],
)
def test_less_than_five_alike_at_the_start_stop_nothing(outcomes: list[Outcome]) -> None:
    """An input of four rows never stops so, nor does a start that is mixed."""
    assert trips(outcomes) == []


def test_rows_that_the_journal_answers_say_nothing_about_now() -> None:
    """Neither good ones nor bad ones; one that sent something itself does."""
    good, bad = ended(None, replayed=2, attempts=2), ended(error(), replayed=2, attempts=2)
    assert trips([bad] * 100) == []
    assert trips([good] * 10 + [NO] * 5) == [14]
    assert trips([ended(error(), replayed=2, attempts=3)] * 5) == [4]


@pytest.mark.parametrize(
    "free",
    [
        error(C.INPUT, "line 3: missing 'topic'", kind="InputInvalid"),
        error(C.NETWORK, "nothing is recorded of this call (--replay)", kind="NotRecorded"),
    ],
    ids=["input", "replay"],
)
def test_rows_for_which_nothing_is_sent_count_for_nothing(free: ErrorRecord) -> None:
    """Malformed lines cost nothing: they neither stop a run nor stand between failures that do."""
    assert trips([ended(free)] * 100) == []
    assert trips([NO, ended(free), NO, NO, ended(free), NO, NO]) == [6]


def test_a_definition_that_fails_on_every_row_stops_the_run() -> None:
    """Its category is `input`, but no line is at fault."""
    missing = error(C.INPUT, "output_file: the directory 'out' does not exist", kind="DefinitionError")
    assert trips([ended(missing)] * 5) == [4]


def test_rows_that_failed_before_do_not_stop_the_run_that_tries_them_again() -> None:
    """Five rows for ever bad at the head of an input must not keep every session from the rows behind them."""
    breaker = Breaker()
    assert [breaker.observe(NO, failed_before=True) for _ in range(100)] == [None] * 100
    assert trips([OK] * 30 + [NO] * 25, breaker) == []
    assert breaker.observe(NO) is not None


# --- the window -------------------------------------------------------------------------------------------------------


def test_over_half_of_the_last_rows_alike_stop_the_run() -> None:
    """26 of 50, whenever they come and in whatever order."""
    breaker = Breaker()
    assert trips([OK] * 1000, breaker) == []
    assert trips([NO] * 25, breaker) == []
    assert breaker.observe(NO) == Trip("26 of the last 50 rows failed alike: tool: no", C.TOOL, fingerprint(error()))
    assert trips([OK, NO] * 25 + [NO]) == [50]


def test_half_of_the_last_rows_is_not_enough() -> None:
    """Nor is over half of fewer rows than the window has, nor over half of several kinds."""
    assert trips([OK, NO] * 500) == []
    assert trips([OK, *[NO] * 25]) == []
    assert trips([OK, NO, ended(error(C.GUARDRAIL)), OK, NO] * 200) == []


@pytest.mark.parametrize("category", list(C))
def test_one_bad_row_in_a_thousand_stops_nothing(category: Category) -> None:
    """Whatever it fails of, and wherever it stands."""
    for place in (0, 1, 500, 999):
        outcomes = [OK] * 999
        outcomes.insert(place, ended(error(category)))
        assert trips(outcomes) == []


@given(st.lists(st.sampled_from([OK, NO, ended(error(C.GUARDRAIL))]), max_size=80), st.integers(5, 20))
def test_the_breaker_does_as_its_words_say(outcomes: list[Outcome], window: int) -> None:
    """Held against the rules, counted anew for every row."""
    breaker = Breaker(window=window)
    for i, outcome in enumerate(outcomes):
        last = outcomes[max(0, i + 1 - window) : i + 1]
        alike = sum(o is outcome for o in last)
        expected = outcome.error is not None and (
            (alike == len(last) >= 5) or (len(last) == window and 2 * alike > window)
        )
        tripped = breaker.observe(outcome) is not None
        assert tripped == expected
        if tripped:
            return


@pytest.mark.parametrize(("patience_s", "window"), [(-1.0, 50), (float("nan"), 50), (300.0, 4)])
def test_a_breaker_that_cannot_be_is_refused(patience_s: float, window: int) -> None:
    """Nonsense is refused where it is given."""
    with pytest.raises(ValueError, match="window is"):
        Breaker(patience_s, window)


# --- the provider's side ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", [C.SERVER, C.NETWORK])
def test_rows_that_fail_on_the_providers_side_are_waited_out(category: Category) -> None:
    """The run stops when so many have failed for as long as an outage may last, a row a second."""

    async def main() -> list[float]:
        breaker, found = Breaker(outage_patience_s=120), []
        for outcome in [OK] * 50 + [ended(error(category, status=503, retryable=True))] * 200:
            await anyio.sleep(1)
            if breaker.observe(outcome):
                found.append(trio.current_time())
        return found[:1]

    # 26 of 50 have failed after 76 s.
    assert on_a_virtual_clock(main) == [pytest.approx(76 + 120)]


def test_a_bad_patch_of_the_provider_is_forgotten() -> None:
    """The time is counted anew when fewer failed in between."""

    async def main() -> list[float]:
        breaker, found = Breaker(outage_patience_s=120), []
        failed = ended(error(C.SERVER, status=503, retryable=True))
        for _ in range(5):
            for outcome in [OK] * 50 + [failed] * 100:
                await anyio.sleep(1)
                if breaker.observe(outcome):
                    found.append(trio.current_time())
        return found

    assert on_a_virtual_clock(main) == []


def test_an_address_that_cannot_work_is_not_waited_out() -> None:
    """A certificate does not mend itself."""
    assert trips([ended(error(C.NETWORK, "its TLS certificate is not trusted", kind="Unreachable"))] * 5) == [4]


# --- fingerprints -----------------------------------------------------------------------------------------------------

ALIKE = {
    "numbers": ("HTTP 429: Limit 30000, Requested 31511.5", "HTTP 429: Limit 20000, Requested 1"),
    "request ids": ("failed (request id: req_8fa2bcbdef12)", "failed (request id: req_abcdefghijk)"),
    "completion ids": ("chatcmpl-9xYzAbCdEf is no answer", "chatcmpl-QwErTzUiOp is no answer"),
    "uuids": ("job 3f2b8c1e-9d3a-4a3e-8b1a-2f9f3d9c0a11 died", "job aa2b8c1e-0d3a-4a3e-8b1a-2f9f3d9c0a12 died"),
    "ids without a digit": ("trace QwErTzUiOpAsDfGhJkLyXc", "trace ZzErTzUiOpAsDfGhJkLyXc"),
    "quoted values": ("no tool 'serch' here", "no tool 'it's late' here"),
    "values that are cut off": ("returned 'some words…; a guardrail", "returned 'other'; a guardrail"),
    "other quotes": ('model "a b" and `c`', 'model "d" and `e f`'),
    "URLs": ("GET https://a.org/x?y=1 failed", "GET https://a.org/z/9 failed"),
    "files": ("no file /home/me/a.txt", "no file /home/you/b/c.md"),
    "addresses in memory": ("<object at 0x7f8a12>", "<object at 0x55aa01>"),
    "times": ("since 2026-11-21T10:00:03.5Z", "since 2025-01-02T11:12:13Z"),
    "lists": ("rows [1, 2, 3] are bad", "rows [4] are bad"),
    "blanks": ("a  b\nc", "a b c"),
    "a guardrail's own words": (
        "no answer passed the guardrail in 4 tries; the last one: too long",
        "no answer passed the guardrail in 3 tries; the last one: it's rude",
    ),
    "long tails": ("The tool says " + "so " * 200 + "yes", "The tool says " + "so " * 200 + "no"),
}


@pytest.mark.parametrize("pair", ALIKE.values(), ids=ALIKE)
def test_what_varies_does_not_tell_failures_apart(pair: tuple[str, str]) -> None:
    """One cause, one fingerprint."""
    one, two = pair
    assert fingerprint(error(message=one)) == fingerprint(error(message=two))


APART = {
    "category": error(C.INTERNAL, "it broke"),
    "type": error(message="it broke", kind="Other"),
    "task": error(message="it broke", task="draft"),
    "status": error(message="it broke", status=500),
    "words": error(message="it did not break"),
    "words around quotes": error(message="it can't be, but it 'broke'"),
    "hosts": error(message="https://a.org/x broke"),
    "other hosts": error(message="https://b.org/x broke"),
}


def test_what_says_something_does() -> None:
    """Category, type, status, task, and the message's own words."""
    marks = {fingerprint(error(message="it broke")), *(fingerprint(one) for one in APART.values())}
    assert len(marks) == 1 + len(APART)


def test_a_rows_own_inputs_do_not_tell_failures_apart() -> None:
    """Whole words only, the longest first, however deep they lie; short ones are too common in messages."""
    one = {"topic": "owls", "about": ["owls at night", {"x": "Bern"}], "n": None, "flag": True}
    two = {"topic": "mice", "about": ["in the field", {"x": "Rome"}], "n": None, "flag": False}
    said = "KeyError: {} of {} in {}, not knowls"
    assert fingerprint(error(message=said.format("owls", "owls at night", "Bern")), one) == fingerprint(
        error(message=said.format("mice", "in the field", "Rome")), two
    )
    short = error(message="an id is an id")
    assert fingerprint(short, {"a": "is", "b": "an"}) == fingerprint(short)


def test_a_fingerprint_is_the_same_in_every_run() -> None:
    """It may be kept and compared."""
    assert fingerprint(error(C.SERVER, "HTTP 503: down", status=503, task="draft")) == "a6ff55a4b8f5"


@given(st.text(max_size=300), st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=4))
def test_every_message_has_a_fingerprint(message: str, inputs: dict[str, str]) -> None:
    """Also half a character, an unclosed quote, a value full of signs."""
    assert len(fingerprint(error(message=message), inputs)) == 12


# --- groups -----------------------------------------------------------------------------------------------------------


def test_failures_are_grouped_with_the_first_as_example() -> None:
    """The largest group first, each with its cause and the way out."""
    failures = Failures()
    slow = error(C.TIMEOUT, "no reply within 30 s", kind="CallTimedOut", task="draft", retryable=True)
    refused = error(C.GUARDRAIL, "no answer in 0 tries", kind="GuardrailFailed")
    failures.add(row("a"), slow)
    for n in range(3):
        failures.add(row(f"b{n}"), error(C.GUARDRAIL, f"no answer in {n} tries", kind="GuardrailFailed"))
    failures.add(row("c"), replace(slow, message="no reply within 60 s"))
    assert failures.groups() == [
        FailureGroup(
            3,
            C.GUARDRAIL,
            "GuardrailFailed",
            None,
            "b0",
            1,
            refused,
            "a guardrail or hook refused it; see its message, and the task's prompt",
            0,
            fingerprint(refused),
        ),
        FailureGroup(
            2,
            C.TIMEOUT,
            "CallTimedOut",
            "draft",
            "a",
            1,
            slow,
            "a call takes longer than it may; raise --call-timeout, or lower -j",
            0,
            fingerprint(slow),
        ),
    ]


def test_a_million_kinds_of_failures_take_little_memory() -> None:
    """200 groups, the rest by category; what comes again and again has a group though it came late."""
    failures = Failures()
    dice = random.Random(1)
    for n in range(3000):
        failures.add(row(str(n)), error(dice.choice([C.TOOL, C.INTERNAL]), f"it says {word(n)}", task="draft"))
        if n >= 2000 and n % 10 == 0:
            failures.add(row(str(n)), error(C.OUTPUT_INVALID, "the reply is empty"))
    groups = failures.groups()
    others = {group.category: (group.type, group.task) for group in groups if group.type == "others"}
    assert sum(group.count for group in groups) == 3100
    assert others == {C.TOOL: ("others", None), C.INTERNAL: ("others", None)}
    assert len(groups) == MOST_GROUPS + 2
    assert [(g.count, g.category, g.row_id) for g in groups if g.category == C.OUTPUT_INVALID] == [
        (100, C.OUTPUT_INVALID, "2000")
    ]


def test_groups_that_are_all_met_again_keep_their_places() -> None:
    """The 201st cause is one of the others then."""
    failures = Failures()
    for n in range(MOST_GROUPS):
        failures.add(row("x"), error(message=word(n)))
        failures.add(row("y"), error(message=word(n)))
    failures.add(row("z"), error(message="late"))
    groups = failures.groups()
    assert [group.count for group in groups] == [2] * MOST_GROUPS + [1]
    assert (groups[-1].type, groups[-1].row_id) == ("others", "z")


@pytest.mark.parametrize("category", list(C))
def test_every_category_has_a_cause_and_a_way_out(category: Category) -> None:
    """One sentence, no full stop, something to do in it; it fits after its arrow on a line of 80 columns."""
    cause = likely_cause(error(category))
    assert ";" in cause
    assert len(cause) <= 72
    assert not cause.endswith(".")


@pytest.mark.parametrize(
    ("failed", "named"),
    [
        (error(C.AUTH, status=401), "key is missing, wrong or revoked"),
        (error(C.AUTH, status=403), "may not use this model"),
        (error(C.TIMEOUT, kind="CallTimedOut"), "--call-timeout"),
        (error(C.TIMEOUT, kind="RowTimedOut"), "--row-timeout"),
        (error(C.TIMEOUT, kind="TaskTimedOut"), "max_execution_time"),
        (error(C.NETWORK, kind="NotRecorded"), "--replay"),
        (error(C.NETWORK, kind="Unreachable"), "certificate"),
        (error(C.SERVER, status=500), "run these again later"),
        (error(C.SERVER, status=200), "base_url"),
        (error(C.INPUT, kind="DefinitionError"), "definition"),
        (error(C.BUDGET), "--row-budget"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_cause_follows_type_and_status(failed: ErrorRecord, named: str) -> None:
    """Where those know more than the category."""
    assert named in likely_cause(failed)


def test_the_first_rows_are_those_that_were_begun_first() -> None:
    """Five that fail fast say nothing as long as one that was begun before them still runs."""
    breaker = Breaker()
    for index in range(6):
        breaker.begin(index)
    failed = [ended(error(), n=n) for n in range(6)]
    assert [breaker.observe(failed[n]) for n in (1, 2, 3, 4, 5)] == [None] * 5
    assert breaker.observe(failed[0]) is not None


def test_a_refusal_of_the_key_is_a_rows_own_where_others_succeeded() -> None:
    """The cause is looked for in the row, and not in the key."""
    refused = error(C.AUTH, status=401)
    alone, among_others = likely_cause(refused), likely_cause(refused, others_succeeded=True)
    assert among_others.startswith("other rows succeeded")
    assert alone != among_others
    assert likely_cause(error(C.TOOL), others_succeeded=True) == likely_cause(error(C.TOOL))
