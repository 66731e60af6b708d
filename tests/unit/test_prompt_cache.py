"""Providers' prompt caches: which call goes first, what requests say to the cache, and that nothing waits for long."""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from crewrun import GatewayOptions, RetryPolicy
from crewrun.errors import BadRequest, CallError, ServerError
from crewrun.llm.endpoints import resolve
from crewrun.llm.gateway import Gateway
from crewrun.llm.model import LLM
from crewrun.llm.prices.price import find_price, flat_price
from crewrun.llm.prompt_cache.first_calls import PATIENCE_S, PrefixCalls
from crewrun.llm.prompt_cache.rules import CacheRules, rules_of
from crewrun.llm.request_identity import Identities
from crewrun.llm.transports.openai import body_of
from crewrun.messages import CacheHints, ChatRequest, Completion, Message, Part, ToolCall, ToolSpec, Usage, in_parts
from crewrun.row_context import RowContext, new_row_context
from crewrun.row_events import RowEvent, Waited, add_listener, remove_listener

KEYS = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "MISTRAL_API_KEY": "k", "AZURE_API_KEY": "k"}
LONG = "All of this is the same for every row. " * 400  # 15,600 characters, 3,900 tokens
OPENAI, CLAUDE = LLM(model="gpt-4.1-mini"), LLM(model="anthropic/claude-sonnet-4-6")
TOOL = ToolSpec("search", "Finds things.", {"type": "object", "properties": {}})


def on_a_virtual_clock(main: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


class Provider:
    """A transport that answers after `seconds`, or as `plan` says for each request in turn: seconds, or an error after
    them. `sent` has the requests with the time at which they came.
    """

    def __init__(self, seconds: float = 1.0, plan: list[tuple[float, CallError | None]] | None = None) -> None:
        self._seconds = seconds
        self._plan = list(plan or [])
        self.sent: list[tuple[float, ChatRequest]] = []

    @property
    def times(self) -> list[float]:
        return [round(at, 3) for at, _ in self.sent]

    @property
    def hints(self) -> list[CacheHints | None]:
        return [request.cache_hints for _, request in self.sent]

    async def send(self, request: ChatRequest) -> Completion:
        self.sent.append((anyio.current_time() - self.began, request))
        seconds, error = self._plan.pop(0) if self._plan else (self._seconds, None)
        await anyio.sleep(seconds)
        if error is not None:
            raise error
        return Completion("answer", Usage(prompt_tokens=10, completion_tokens=5))

    async def aclose(self) -> None:
        """Nothing to close."""

    async def open(self, **options: Any) -> Gateway:
        self.began = anyio.current_time()
        return Gateway(GatewayOptions(RetryPolicy(retries=0), **options), transport=self)


async def ask(
    gateway: Gateway, user: str = "row", system: str = LONG, llm: LLM = OPENAI, tools: tuple[ToolSpec, ...] = ()
) -> None:
    """One call, whatever comes of it."""
    messages = (Message("system", system), Message("user", user)) if system else (Message("user", user),)
    with suppress(CallError):
        await gateway.complete(llm, messages, new_row_context(), tools=tools)


def send_together(provider: Provider, *asks: dict[str, Any], **options: Any) -> Provider:
    """Make calls at once."""

    async def main() -> None:
        async with await provider.open(**options) as gateway, anyio.create_task_group() as rows:
            for number, each in enumerate(asks):
                rows.start_soon(partial(ask, gateway, **{"user": f"row {number}", **each}))

    on_a_virtual_clock(main)
    return provider


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


# --- who goes first ---------------------------------------------------------------------------------------------------


def test_the_first_call_of_a_prefix_goes_alone_and_then_all_others() -> None:
    """They wait for its answer, and not for one another."""
    assert send_together(Provider(2.0), *[{}] * 5).times == [0, 2, 2, 2, 2]


def test_what_follows_the_prefix_does_not_matter_and_what_is_in_it_does() -> None:
    """Rows whose own values come early share nothing: none of them waits for another."""
    others = [{"system": f"Row {number}. {LONG}"} for number in range(4)]
    assert send_together(Provider(), *others).times == [0, 0, 0, 0]
    two = [{"system": LONG}, {"system": f"x{LONG}"}] * 2
    assert send_together(Provider(), *two).times == [0, 0, 1, 1]


def test_long_instructions_of_a_task_are_a_prefix_too() -> None:
    """OpenAI caches the beginning of a prompt, whichever turn it is in."""
    asks = [{"system": "You are a clerk.", "user": f"{LONG} {number}"} for number in range(3)]
    assert send_together(Provider(), *asks).times == [0, 1, 1]


@pytest.mark.parametrize(
    ("each", "options"),
    [
        pytest.param({"system": LONG[:4000]}, {}, id="a prefix that is too short"),
        pytest.param({}, {"model": "offline"}, id="the offline model"),
        pytest.param({}, {"prompt_cache": "never"}, id="never"),
        pytest.param({"llm": LLM(model="openai/unknown")}, {}, id="a model of unknown price"),
        pytest.param({}, {"prices": {"gpt-4.1-mini": flat_price(1e-6, 1e-6)}}, id="no price for cached tokens"),
    ],
)
def test_where_a_cache_saves_nothing_no_call_waits(each: dict[str, Any], options: dict[str, Any]) -> None:
    """They all go at once."""
    provider = Provider()
    if "model" not in options:
        assert send_together(provider, *[each] * 3, **options).times == [0, 0, 0]
    else:
        send_together(provider, *[each] * 3, **options)
        assert provider.times == [0, 0, 0]
    assert provider.hints == [None] * 3


@pytest.mark.parametrize(
    ("llm", "options"),
    [
        pytest.param(LLM(model="openai/unknown"), {"prompt_cache": "always"}, id="always"),
        pytest.param(OPENAI, {"prices": {"gpt-4.1-mini": flat_price(1e-6, 1e-6, 1e-7)}}, id="a price of the user's"),
        pytest.param(LLM(model="deepseek/deepseek-chat", api_key="k"), {}, id="another provider with a cache"),
    ],
)
def test_where_it_may_save_something_calls_wait(llm: LLM, options: dict[str, Any]) -> None:
    """Whoever the provider is."""
    assert send_together(Provider(), *[{"llm": llm}] * 3, **options).times == [0, 1, 1]


def test_listeners_are_told_of_the_wait() -> None:
    """A row whose call waits for another one shows it as what it is."""

    waits: list[Any] = []

    class Listener:
        def on_event(self, event: RowEvent) -> None:
            waits.extend([event.result] if event.phase == "wait" else [])

    listener = Listener()
    add_listener(listener)
    try:
        send_together(Provider(2.0), *[{}] * 3)
    finally:
        remove_listener(listener)
    assert waits == [Waited("prompt cache", 2.0)] * 2


def test_when_the_first_call_fails_the_next_one_goes_first() -> None:
    """And after two that failed all go: by then it is not the cache that matters."""
    plan: list[tuple[float, CallError | None]] = [(1.0, BadRequest("no"))]
    assert send_together(Provider(plan=plan), *[{}] * 4).times == [0, 1, 2, 2]
    plan = [(1.0, BadRequest("no")), (1.0, BadRequest("no"))]
    assert send_together(Provider(plan=plan), *[{}] * 5).times == [0, 1, 2, 2, 2]


def test_failures_of_calls_that_nobody_waited_for_change_nothing() -> None:
    """Later rows wait for their own first call."""

    async def main() -> list[float]:
        provider = Provider(plan=[(1.0, BadRequest("no")), (1.0, BadRequest("no"))])
        async with await provider.open() as gateway:
            for _ in range(2):
                async with anyio.create_task_group() as rows:
                    rows.start_soon(ask, gateway, "one")
                    rows.start_soon(ask, gateway, "two")
        return provider.times

    assert on_a_virtual_clock(main) == [0, 1, 2, 3]


def test_a_slow_first_call_holds_nobody_up_for_long() -> None:
    """After half a minute all go, and nobody waits any more."""
    provider = send_together(Provider(plan=[(500.0, None)]), *[{}] * 4)
    assert provider.times == [0, PATIENCE_S, PATIENCE_S, PATIENCE_S]


def test_first_calls_together_take_no_longer_than_one_may() -> None:
    """The one that follows a failed first call has the rest of its time."""
    plan: list[tuple[float, CallError | None]] = [(20.0, ServerError("down")), (500.0, None)]
    assert send_together(Provider(plan=plan), *[{}] * 4).times == [0, 20, PATIENCE_S, PATIENCE_S]


def test_a_cancelled_first_call_lets_the_next_one_go_first() -> None:
    """A row whose time is over, or a run that stops, leaves nobody waiting."""

    async def main() -> list[float]:
        provider = Provider(10.0)
        async with await provider.open() as gateway, anyio.create_task_group() as rows:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as first:
                    first.start_soon(ask, gateway, "first")
                    await trio.testing.wait_all_tasks_blocked()
                    rows.start_soon(ask, gateway, "second")
                    rows.start_soon(ask, gateway, "third")
                    await anyio.sleep(3)
                    scope.cancel()
        return provider.times

    assert on_a_virtual_clock(main) == [0, 3, 13]


def test_a_prefix_that_was_not_used_for_as_long_as_it_is_kept_begins_again() -> None:
    """Each use makes it last for another five minutes."""

    async def main() -> list[float]:
        provider = Provider(1.0)
        async with await provider.open() as gateway:
            for pause_s in (0, 290, 290, 310):
                await anyio.sleep(pause_s)
                async with anyio.create_task_group() as rows:
                    for _ in range(2):
                        rows.start_soon(ask, gateway)
        return provider.times

    assert on_a_virtual_clock(main) == [0, 1, 292, 292, 583, 583, 894, 895]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 40), st.sampled_from([0.1, 5.0, 29.0, 200.0]), st.sampled_from(["answer", "fail", "cancel"])
        ),
        min_size=1,
        max_size=12,
    )
)
def test_no_call_waits_longer_than_the_patience(rows: list[tuple[float, float, str]]) -> None:
    """Whenever rows come, whatever becomes of them and however long that takes: each is sent, and all end."""
    errors = {"answer": None, "fail": BadRequest("no"), "cancel": None}

    async def main() -> None:
        waited: list[float] = []
        plan = {f"row {n}": (seconds, how) for n, (_, seconds, how) in enumerate(rows)}

        class Server(Provider):
            async def send(self, request: ChatRequest) -> Completion:
                user = request.messages[-1].content
                waited.append(anyio.current_time() - came[user])
                seconds, how = plan[user]
                self._plan = [(seconds, errors[how])]
                return await super().send(request)

        came: dict[str, float] = {}
        provider = Server()

        async def row(gateway: Gateway, number: int) -> None:
            after_s, seconds, how = rows[number]
            await anyio.sleep(after_s)
            came[f"row {number}"] = anyio.current_time()
            with anyio.move_on_after(seconds / 2 if how == "cancel" else inf):
                await ask(gateway, f"row {number}")

        async with await provider.open() as gateway, anyio.create_task_group() as tasks:
            for number in range(len(rows)):
                tasks.start_soon(row, gateway, number)
        assert max(waited, default=0) <= PATIENCE_S + 1e-6
        assert len(provider.sent) >= sum(how != "cancel" for _, _, how in rows)

    on_a_virtual_clock(main)


# --- what requests say ------------------------------------------------------------------------------------------------


def test_claude_is_told_of_a_prefix_from_its_second_call_on() -> None:
    """The first one may be all there is of it. The second goes with it, and writes the cache for all others."""
    provider = send_together(Provider(2.0), *[{"llm": CLAUDE}] * 5)
    assert provider.times == [0, 0, 2, 2, 2]
    assert provider.hints == [None, *[CacheHints(marks="anthropic")] * 4]


def test_a_persona_with_a_row_s_values_is_never_written() -> None:
    """Writing costs a quarter more, and no other row would read it. Its own next turn does."""
    each = [{"llm": CLAUDE, "system": f"Row {number}. {LONG}"} for number in range(3)]
    assert send_together(Provider(), *each).hints == [None] * 3
    assert send_together(Provider(), each[0], each[0]).hints == [None, CacheHints(marks="anthropic")]


def test_of_thousands_of_prefixes_those_that_were_used_last_are_known() -> None:
    """A run with a persona for each row does not remember all of them."""

    async def main() -> list[bool]:
        calls, endpoint = PrefixCalls(), resolve(CLAUDE)
        found = rules_of(endpoint, find_price(endpoint), "auto")
        assert found is not None

        def is_known(number: int) -> bool:
            request = ChatRequest(endpoint, (Message("system", f"Row {number}. {LONG[:4600]}"), Message("user", "row")))
            call = calls.join(request, found, takes_hints=True)
            return call is not None and call.hints is not None

        for number in range(4097):
            await anyio.sleep(1)
            assert not is_known(number)
        return [is_known(number) for number in (0, 2047, 2048, 4096)]

    assert on_a_virtual_clock(main) == [False, False, True, True]


def test_turns_that_others_follow_are_cached_for_them() -> None:
    """An agent's next turn sends all of this one again. Its last one only reads: earlier rows show which that is."""
    first = (Message("user", LONG),)
    second = (
        *first,
        Message("assistant", "", (ToolCall("1", "search", "{}"),)),
        Message("tool", "it", tool_call_id="1"),
    )

    async def main() -> list[CacheHints | None]:
        provider = Provider()
        async with await provider.open() as gateway:
            for _ in range(12):
                for messages in (first, second):
                    await gateway.complete(CLAUDE, messages, RowContext(), tools=(TOOL,))
        return provider.hints

    hints = on_a_virtual_clock(main)
    assert hints[0::2] == [*[None] * 10, *[CacheHints(marked_turn="latest")] * 2]
    assert hints[1::2] == [*[None] * 9, *[CacheHints(marked_turn="previous")] * 3]


@pytest.mark.parametrize("llm", [OPENAI, LLM(model="gpt-5.6")], ids=["gpt-4.1-mini", "gpt-5.6"])
def test_openai_caches_turns_by_itself(llm: LLM) -> None:
    """It is told nothing of them."""
    asks = [{"llm": llm, "tools": (TOOL,), "system": "", "user": LONG}] * 20
    assert not any(hints.marked_turn for hints in send_together(Provider(), *asks).hints if hints is not None)


def test_requests_to_openai_name_their_prefix() -> None:
    """The same name in each run, different for different prefixes, and no word of them in it."""
    asks = [{}, {}, {"system": f"x{LONG}"}]
    # Calls that begin at once go in any order.
    runs = [send_together(Provider(), *asks).hints for _ in range(2)]
    keys, again = (sorted(hints.key for hints in run if hints is not None) for run in runs)
    assert keys == again
    assert len(keys) == 3
    assert len(set(keys)) == 2
    assert all(len(key) <= 64 and key.startswith("crewrun-") for key in keys)


def test_gpt_5_6_is_told_where_its_prefix_ends() -> None:
    """By itself it writes whole prompts, at a price, and finds none of them again. Turns with tools are found again."""
    llm = LLM(model="gpt-5.6")
    plain = send_together(Provider(), *[{"llm": llm}] * 3).hints
    assert [(hints.marks, hints.is_explicit) for hints in plain if hints] == [("", True), *[("openai", True)] * 2]
    short = send_together(Provider(), {"llm": llm, "system": "", "user": LONG}).hints
    assert short == [CacheHints(is_explicit=True)]
    tools = send_together(Provider(), *[{"llm": llm, "tools": (TOOL,)}] * 3).hints
    assert [(hints.marks, hints.is_explicit) for hints in tools if hints] == [("", False), *[("openai", False)] * 2]


def test_a_refusal_of_what_was_said_is_remembered() -> None:
    """The call goes again without it, at once, and so do all others."""
    plan: list[tuple[float, CallError | None]] = [
        (0.0, BadRequest("Unrecognized request argument supplied: prompt_cache_key", http_status=400))
    ]
    provider = send_together(Provider(plan=plan), *[{}] * 3)
    assert [hints is None for hints in provider.hints] == [False, True, True, True]


def test_a_refusal_that_comes_without_hints_too_was_not_about_them() -> None:
    """But about what a row has in it: the others go on with theirs."""
    refused = BadRequest("at most 4 blocks may have cache_control", http_status=400)
    provider = send_together(Provider(plan=[(0.0, refused), (0.0, refused)]), *[{}] * 3)
    assert [hints is None for hints in provider.hints] == [False, True, False, False]


def test_another_refusal_is_the_user_s() -> None:
    """Only what is about the cache is taken so."""
    plan: list[tuple[float, CallError | None]] = [(0.0, BadRequest("temperature: no", http_status=400))]
    assert len(send_together(Provider(plan=plan), {}).sent) == 1


def test_what_users_say_to_a_cache_themselves_stays_as_it_is() -> None:
    """Their key, their options, and messages with breakpoints of theirs."""
    own_key = LLM(model="gpt-5.6", prompt_cache_key="mine")
    assert all(hints is None or not hints.key for hints in send_together(Provider(), *[{"llm": own_key}] * 2).hints)
    options = LLM(model="gpt-5.6", prompt_cache_options={"mode": "implicit"})
    hints = send_together(Provider(), *[{"llm": options}] * 2).hints
    assert all(each is not None and not each.marks and not each.is_explicit for each in hints)
    part = Part.of({"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}, text=LONG)

    async def main() -> list[CacheHints | None]:
        provider = Provider()
        async with await provider.open() as gateway:
            for _ in range(3):
                marked = (Message("system", **in_parts([part])), Message("user", "row"))
                await gateway.complete(CLAUDE, marked, RowContext())
        return provider.hints

    assert on_a_virtual_clock(main) == [None] * 3


def test_a_kickoff_in_another_loop_knows_the_prefix() -> None:
    """But it waits for no call of the run's own loop, which may be waiting for it."""

    async def main() -> tuple[list[float], CacheHints | None]:
        provider = Provider(5.0)
        async with await provider.open() as gateway, anyio.create_task_group() as rows:
            rows.start_soon(ask, gateway, "row", LONG, CLAUDE)
            await trio.testing.wait_all_tasks_blocked()
            await ask(gateway.for_another_loop(), "row", LONG, CLAUDE)
        return provider.times, provider.hints[-1]

    assert on_a_virtual_clock(main) == ([0, 0], CacheHints(marks="anthropic"))


def test_the_identity_of_a_request_has_nothing_of_it() -> None:
    """So journals of runs that said nothing are replayed."""
    request = ChatRequest(resolve(OPENAI), (Message("system", LONG), Message("user", "row")))
    told = replace(request, cache_hints=CacheHints("crewrun-1", "openai", is_explicit=True))
    assert Identities().of(told) == Identities().of(request)


# --- rules ------------------------------------------------------------------------------------------------------------


def rules(model: str, use: Any = "auto", **llm: Any) -> CacheRules | None:
    endpoint = resolve(LLM(model=model, **llm), KEYS)
    return rules_of(endpoint, find_price(endpoint), use)


@pytest.mark.parametrize(
    ("model", "tokens", "marks", "sends_key"),
    [
        ("gpt-4.1-mini", 1024, "", True),
        ("gpt-5.6", 1024, "openai", True),
        ("anthropic/claude-sonnet-4-6", 1024, "anthropic", False),
        ("anthropic/claude-haiku-4-5", 4096, "anthropic", False),
        ("anthropic/claude-opus-5", 512, "anthropic", False),
        ("bedrock/anthropic.claude-sonnet-4-6", 1024, "anthropic", False),
        ("azure/gpt-4.1-mini", 1024, "", True),
        ("gemini/gemini-2.5-pro", 2048, "", False),
        ("deepseek/deepseek-chat", 1024, "", False),
    ],
)
def test_each_provider_has_its_own_rules(model: str, tokens: int, marks: str, sends_key: bool) -> None:
    """The shortest prefix, a tenth more since we estimate; whether there are breakpoints; whether there is a key."""
    found = rules(model)
    assert found is not None
    assert (found.least_bytes, found.marks, found.sends_key) == (round(tokens * 1.1) * 4, marks, sends_key)


def test_claude_by_openrouter_takes_anthropic_s_breakpoints() -> None:
    """Its prices are not in the table; the user gives them."""
    endpoint = resolve(LLM(model="openrouter/anthropic/claude-sonnet-4.5", api_key="k"))
    found = rules_of(endpoint, flat_price(3e-6, 15e-6, 0.3e-6, 3.75e-6), "auto")
    assert found is not None
    assert found.marks == "anthropic"
    assert rules_of(endpoint, find_price(endpoint), "auto") is None


def test_turns_in_batch_jobs_are_not_cached_for_one_another() -> None:
    """The next one goes in the next job, long after the cache has forgotten this one."""
    live, job = rules("anthropic/claude-sonnet-4-6"), rules("anthropic/claude-sonnet-4-6", tier="batch")
    assert live is not None
    assert job is not None
    assert (live.marks_turns, job.marks_turns) == (True, False)
    assert live.marks == job.marks == "anthropic"


def test_a_server_that_is_not_openai_s_gets_no_parameters_of_openai() -> None:
    """Unless the user says that it takes them."""
    for model in ("openai/gpt-4.1-mini", "openai/gpt-5.6"):
        found = rules(model, base_url="http://127.0.0.1:9/v1")
        assert found is not None
        assert (found.marks, found.sends_key) == ("", False)
        found = rules(model, "always", base_url="http://127.0.0.1:9/v1")
        assert found is not None
        assert (bool(found.marks), found.sends_key) == (model == "openai/gpt-5.6", True)
    assert rules("openai/gpt-4.1-mini", base_url="https://eu.api.openai.com/v1") == replace(
        rules("openai/gpt-4.1-mini", base_url="https://eu.api.openai.com/v1") or CacheRules(b"", 0), sends_key=True
    )


@pytest.mark.parametrize("model", ["ollama/llama3", "openai/unknown", "offline"])
def test_nothing_is_arranged_for_models_without_a_price(model: str) -> None:
    """As far as is known, nothing is cheaper by it."""
    assert rules(model) is None


# --- on the wire ------------------------------------------------------------------------------------------------------


def body(hints: CacheHints, *messages: Message, tools: tuple[ToolSpec, ...] = ()) -> dict[str, Any]:
    return dict(json.loads(body_of(ChatRequest(resolve(OPENAI), messages, tools, cache_hints=hints))))


def test_openai_s_parameters_and_breakpoint() -> None:
    """The key, the mode, and a breakpoint behind the last of the system turns."""
    turns = (Message("system", "one"), Message("system", "two"), Message("user", "row"))
    sent = body(CacheHints("crewrun-1", "openai", is_explicit=True), *turns)
    assert sent["prompt_cache_key"] == "crewrun-1"
    assert sent["prompt_cache_options"] == {"mode": "explicit"}
    marked = [{"type": "text", "text": "two", "prompt_cache_breakpoint": {"mode": "explicit"}}]
    assert [message["content"] for message in sent["messages"]] == ["one", marked, "row"]


def test_nothing_is_changed_in_the_messages_themselves() -> None:
    """A part is marked in a copy: the journal has it as it is."""
    part = Part.of_text("long")
    sent = body(CacheHints(marks="openai"), Message("system", **in_parts([part])), Message("user", "row"))
    assert "prompt_cache_breakpoint" in sent["messages"][0]["content"][0]
    assert part.wire == {"type": "text", "text": "long"}


def test_the_latest_turn_is_marked_as_its_role_has_it() -> None:
    """In its last part; that of a tool's result is beside its content, where litellm takes it."""
    mark = {"cache_control": {"type": "ephemeral"}}
    sent = body(CacheHints(marked_turn="latest"), Message("user", "row"), tools=(TOOL,))
    assert sent["messages"][-1]["content"] == [{"type": "text", "text": "row", **mark}]
    turns = (Message("assistant", "", (ToolCall("1", "search", "{}"),)), Message("tool", "it", tool_call_id="1"))
    sent = body(CacheHints(marked_turn="latest"), Message("user", "row"), *turns, tools=(TOOL,))
    assert sent["messages"][-1] == {"role": "tool", "content": "it", "tool_call_id": "1", **mark}
    sent = body(CacheHints(marked_turn="previous"), Message("user", "row"), *turns, tools=(TOOL,))
    assert [message["content"] for message in sent["messages"]] == [
        [{"type": "text", "text": "row", **mark}],
        None,
        "it",
    ]


def test_tools_are_marked_where_there_is_no_system_turn() -> None:
    """For Claude; OpenAI has no breakpoints there."""
    sent = body(CacheHints(marks="anthropic"), Message("user", "row"), tools=(TOOL, TOOL))
    assert [tool.get("cache_control") for tool in sent["tools"]] == [None, {"type": "ephemeral"}]
    sent = body(CacheHints(marks="openai"), Message("user", "row"), tools=(TOOL,))
    assert sent["tools"][0].keys() == {"type", "function"}
