"""`@persist`: states by their ids, across objects and processes, after interruptions, in files that are no store."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import pytest
from pydantic import BaseModel
from support.command import clean_env

from crewrun import CrewrunWarning, DefinitionError, Flow, InputInvalid, UsageError
from crewrun.errors import OutputFailed
from crewrun.flow import and_, listen, or_, persist, router, start
from crewrun.flow.persistence import SQLiteFlowPersistence

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Found(BaseModel):
    words: list[str]


class Steps(Flow):
    """Notes its calls outside of the state; `trip` names the methods that fail."""

    def __init__(self, calls: list[str], trip: tuple[str, ...] = (), **state: Any) -> None:
        super().__init__(**state)
        self._calls, self._trip = calls, trip

    def note(self, name: str) -> None:
        self._calls.append(name)
        if name in self._trip:
            raise RuntimeError(f"{name} trips")
        self.state.setdefault("done", []).append(name)

    @start()
    async def fetch(self) -> Found:
        self.note("fetch")
        return Found(words=["a", "b"])

    @listen(fetch)
    async def left(self, found: Found) -> int:
        self.note("left")
        return len(found.words)

    @listen(fetch)
    async def right(self, found: Found) -> str:
        while "left" not in self.state["done"]:
            await anyio.sleep(0)
        self.note("right")
        return found.words[0]

    @router(and_(left, right))
    async def decide(self) -> str:
        self.note("decide")
        return "text"

    @listen("text")
    def write(self, label: str) -> str:
        self.note("write")
        return f"{label} {self.state['topic']}"


@persist
class Kept(Steps):
    """Saved after every method, in the default file."""


async def test_a_kickoff_with_a_known_id_has_its_state() -> None:
    """An ended flow begins at its start again, with what it knew and the new inputs on top."""
    calls: list[str] = []
    first = Kept(calls)
    assert await first.akickoff({"topic": "AI", "tone": "dry"}) == "text AI"
    again = Kept(calls)
    assert await again.akickoff({"id": first.flow_id, "topic": "ML"}) == "text ML"
    names = ["fetch", "left", "right", "decide", "write"]
    assert again.state == {"id": first.flow_id, "topic": "ML", "tone": "dry", "done": names * 2}
    assert calls == names * 2
    assert stat.S_IMODE(os.stat(".crewrun/flow_states.sqlite").st_mode) == 0o600


@pytest.mark.parametrize(
    ("trips", "then"),
    [
        pytest.param("fetch", ["fetch", "left", "right", "decide", "write"], id="at the start, where nothing is kept"),
        pytest.param("left", ["left", "right", "decide", "write"], id="in one of two listeners"),
        pytest.param("right", ["right", "decide", "write"], id="in the other, when one has ended"),
        pytest.param("decide", ["decide", "write"], id="in the router"),
        pytest.param("write", ["write"], id="behind the label"),
    ],
)
async def test_an_interrupted_flow_goes_on_after_the_last_finished_method(trips: str, then: list[str]) -> None:
    """Results of those that ended are given on as they were, pydantic models too; none of them runs again."""
    calls: list[str] = []
    with pytest.raises(RuntimeError, match=f"{trips} trips"):
        await Kept(calls, (trips,)).akickoff({"id": "mine", "topic": "AI"})
    calls.clear()
    flow = Kept(calls)
    assert await flow.akickoff({"id": "mine", "topic": "AI"}) == "text AI"
    assert calls == then
    assert flow.state["done"] == ["fetch", "left", "right", "decide", "write"]
    assert flow.method_outputs == [Found(words=["a", "b"]), 2, "a", "text", "text AI"]


async def test_an_id_that_is_in_no_store_is_that_of_a_new_state() -> None:
    """A conversation may choose its own."""
    calls: list[str] = []
    flow = Kept(calls)
    assert await flow.akickoff({"id": "never seen", "topic": "AI"}) == "text AI"
    assert (flow.flow_id, len(calls)) == ("never seen", 5)


async def test_a_method_alone_may_be_persisted() -> None:
    """Then what came after it is done again; an ended flow begins anew, with the state as of that method."""
    calls: list[str] = []
    store = SQLiteFlowPersistence("here.db")

    class Partly(Steps):
        @persist(store)
        @listen(Steps.fetch)
        async def left(self, found: Found) -> int:
            return await Steps.left(self, found)

    with pytest.raises(RuntimeError, match="write trips"):
        await Partly(calls, ("write",)).akickoff({"id": "1", "topic": "AI"})
    calls.clear()
    assert await Partly(calls).akickoff({"id": "1"}) == "text AI"
    assert calls == ["right", "decide", "write"]
    calls.clear()
    flow = Partly(calls)
    assert await flow.akickoff({"id": "1"}) == "text AI"
    assert calls == ["fetch", "left", "right", "decide", "write"]
    assert flow.state["done"] == ["fetch", "left", *calls]
    assert [path.name for path in Path().iterdir()] == ["here.db"]


async def test_a_loop_goes_on_in_the_round_that_it_was_in() -> None:
    """Conditions remember what they had seen, rounds and or_ included."""
    trip = [True]

    @persist("loop.db")
    class Rounds(Flow):
        @start()
        async def begin(self) -> None: ...

        @listen(or_(begin, "again"))
        async def work(self) -> int:
            self.state["round"] = self.state.get("round", 0) + 1
            return int(self.state["round"])

        @listen(work)
        async def check(self, n: int) -> int:
            if n == 3 and trip:
                trip.clear()
                raise RuntimeError("third")
            return n * 10

        @router(and_(work, check))
        async def more(self, n: int) -> str | None:
            return "again" if n < 50 else None

        @listen(more)
        async def count(self) -> int:
            self.state["counted"] = self.state.get("counted", 0) + 1
            return int(self.state["counted"])

    with pytest.raises(RuntimeError, match="third"):
        await Rounds().akickoff({"id": "x"})
    flow = Rounds()
    await flow.akickoff({"id": "x"})
    assert flow.state == {"id": "x", "round": 5, "counted": 5}


async def test_a_result_that_cannot_be_kept_is_made_again_if_somebody_takes_it() -> None:
    """What came after it is done again as well."""
    calls: list[str] = []
    trip = [True]

    @persist("odd.db")
    class Odd(Flow):
        @start()
        async def unused(self) -> object:
            calls.append("unused")
            return object()

        @listen(unused)
        async def odd(self) -> set[int]:
            calls.append("odd")
            return {1}

        @listen(odd)
        async def takes(self, found: set[int]) -> int:
            calls.append("takes")
            return len(found)

        @listen(takes)
        async def last(self, found: int) -> int:
            calls.append("last")
            if trip:
                trip.clear()
                raise RuntimeError("once")
            return found

    with pytest.raises(RuntimeError, match="once"):
        await Odd().akickoff({"id": "x"})
    calls.clear()
    assert await Odd().akickoff({"id": "x"}) == 1
    assert calls == ["odd", "takes", "last"]


async def test_a_model_s_state_is_validated_when_it_is_restored() -> None:
    """One that was another model's names the file and what does not fit."""

    class Old(BaseModel):
        n: str = "many"
        part: Found = Found(words=["x"])

    class New(BaseModel):
        n: int = 0

    def made(model: type[BaseModel]) -> Any:
        @persist("model.db")
        class Typed(Flow[model]):  # type: ignore[valid-type]  # a parameter
            @start()
            async def work(self) -> Any:
                return self.state

        return Typed

    await made(Old)().akickoff({"id": "x"})
    restored = await made(Old)().akickoff({"id": "x"})
    assert restored.model_dump() == {"id": "x", "n": "many", "part": {"words": ["x"]}}
    with pytest.raises(InputInvalid, match=r"what model.db has of id 'x' cannot be used: input 'n': Input should be a"):
        await made(New)().akickoff({"id": "x"})


async def test_a_state_that_is_no_json_is_refused_with_the_method_s_name() -> None:
    """A state that is not JSON data cannot be stored; the error names the method."""

    @persist("x.db")
    class Odd(Flow):
        @start()
        async def work(self) -> None:
            self.state["client"] = object()

    with pytest.raises(
        UsageError, match=r"Odd.work: the state cannot be stored: .*; @persist needs a state of JSON data"
    ):
        await Odd().akickoff()


@pytest.mark.parametrize(
    "content",
    [b"this is no database, but a text that somebody put here" * 100, b"SQLite format 3\0" + b"\xff" * 4096],
    ids=["a text", "a damaged database"],
)
async def test_a_file_that_is_no_store_is_named_and_left_as_it_is(content: bytes) -> None:
    """The error says what to do; nothing of the flow has run."""
    Path("broken.db").write_bytes(content)

    @persist("broken.db")
    class Broken(Flow):
        @start()
        async def work(self) -> None: ...

    for inputs, kind in (({"id": "x"}, UsageError), ({}, OutputFailed)):
        with pytest.raises(kind, match=r"^broken.db: cannot be used for the states of flows: .*Move it away"):
            await Broken().akickoff(inputs)
    assert Path("broken.db").read_bytes() == content


async def test_a_state_in_the_store_that_is_no_json_is_told() -> None:
    """Somebody edited it by hand."""
    calls: list[str] = []
    await Kept(calls).akickoff({"id": "x", "topic": "AI"})
    with sqlite3.connect(".crewrun/flow_states.sqlite") as store:
        store.execute("update states set state = x'7b7b'")
    store.close()
    with pytest.raises(InputInvalid, match=r"what .*flow_states.sqlite has of id 'x' cannot be used: "):
        await Kept(calls).akickoff({"id": "x"})


async def test_a_thousand_flows_keep_their_states_in_one_file() -> None:
    """Written together where they come together, and each is whole."""

    @persist("many.db")
    class Many(Flow):
        @start()
        async def one(self) -> int:
            return int(self.state["n"])

        @listen(one)
        async def two(self, n: int) -> int:
            self.state["twice"] = 2 * n
            return n

    await Many().akickoff_for_each({"id": f"row {i}", "n": i} for i in range(1000))
    with sqlite3.connect("many.db") as store:
        rows = store.execute("select id, state, ended from states").fetchall()
    store.close()
    assert sorted(rows) == sorted(
        (f"row {i}", f'{{"id":"row {i}","n":{i},"twice":{2 * i}}}'.encode(), 1) for i in range(1000)
    )


def test_a_flow_that_was_killed_goes_on_in_another_process(tmp_path: Path) -> None:
    """SIGKILL between two methods: the first is not run again."""
    (tmp_path / "demo.py").write_text(
        dedent("""
        import os, signal, sys
        from crewrun.flow import Flow, listen, persist, start

        @persist("kept.db")
        class Demo(Flow):
            @start()
            def one(self):
                print("one", flush=True)
                self.state["one"] = "done"
                return {"found": 1}

            @listen(one)
            def two(self, found):
                if sys.argv[1] == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                print("two", found, self.state, flush=True)

        Demo().kickoff({"id": "x"})
        """)
    )

    def run(how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "demo.py", how]
        return subprocess.run(command, cwd=tmp_path, env=clean_env(), capture_output=True, text=True, check=False)

    died, went_on = run("die"), run("live")
    assert (died.returncode, died.stdout) == (-signal.SIGKILL, "one\n")
    assert (went_on.stdout, went_on.stderr) == ("two {'found': 1} {'id': 'x', 'one': 'done'}\n", "")


def test_what_persist_takes() -> None:
    """A store, a path or nothing; the methods of one flow have one file."""

    def two_files() -> Any:
        class Two(Flow):
            @start()
            @persist("a.db")
            async def one(self) -> None: ...

            @listen(one)
            @persist("b.db")
            async def two(self) -> None: ...

        return Two

    with pytest.raises(DefinitionError, match=r"Two is stored in several files, a.db, b.db; a flow has one"):
        two_files()
    refusal = (
        r"a flow cannot be stored by 5; name a SQLiteFlowPersistence, the path of a file, nothing, or an object with"
    )
    with pytest.raises(DefinitionError, match=refusal):
        persist(5)  # type: ignore[call-overload]  # what the test is about
    with pytest.raises(DefinitionError, match=refusal):
        Steps.__mro__[1](5)  # a Flow


class Notebook:
    """A class of the user's that keeps states, with one sync and one async method."""

    def __init__(self) -> None:
        self.pages: dict[str, dict[str, Any]] = {}
        self.written: list[str] = []

    def save_state(self, flow_uuid: str, method_name: str, state_data: dict[str, Any]) -> None:
        self.written.append(method_name)
        self.pages[flow_uuid] = state_data

    async def load_state(self, flow_uuid: str) -> Any:
        return self.pages.get(flow_uuid)


async def test_a_class_of_the_user_s_keeps_whole_states() -> None:
    """By its `id` a kickoff gets one back, and begins at the start; what is no state is refused."""
    notebook = Notebook()

    class Count(BaseModel):
        id: str = ""
        n: int = 0

    @persist(notebook)
    class Counting(Flow[Count]):
        @start()
        async def up(self) -> int:
            self.state.n += 1
            return self.state.n

        @listen(up)
        async def again(self) -> int:
            self.state.n += 1
            return self.state.n

    assert [await Counting().akickoff({"id": "x"}) for _ in range(2)] == [2, 4]
    assert [await Counting(notebook).akickoff({"id": "x"}), await Counting().akickoff({"id": "y"})] == [6, 2]
    assert notebook.pages == {"x": {"id": "x", "n": 6}, "y": {"id": "y", "n": 2}}
    assert notebook.written == ["up", "again"] * 4
    notebook.pages["x"] = "torn"  # type: ignore[assignment]  # what the test is about
    with pytest.raises(
        UsageError, match=r"the Notebook at 0x\w+: load_state\('x'\) gave 'torn'; a state is a dict, or"
    ):
        await Counting().akickoff({"id": "x"})


class InMemory:
    """States in memory, as CrewAI's stores take them."""

    def __init__(self) -> None:
        self.saves: list[str] = []
        self.states: dict[str, dict[str, Any]] = {}

    def save_state(self, flow_uuid: str, method_name: str, state_data: dict[str, Any]) -> None:
        self.saves.append(method_name)
        self.states[flow_uuid] = dict(state_data)

    def load_state(self, flow_uuid: str) -> dict[str, Any] | None:
        return self.states.get(flow_uuid)


def adding(on_class: bool = False, on_method: bool = False) -> type[Flow]:
    """A flow that adds 1 and then 10, under @persist of a store that is never to be used."""
    unused = persist(SQLiteFlowPersistence("unused.sqlite"))

    class Adding(Flow):
        @start()
        def one(self) -> None:
            self.state["n"] = self.state.get("n", 0) + 1

        def ten(self) -> int:
            self.state["n"] += 10
            return int(self.state["n"])

        ten = listen(one)(unused(ten) if on_method else ten)

    return unused(Adding) if on_class else Adding


@pytest.mark.parametrize(
    ("on", "saves"),
    [({"on_class": True}, ["one", "ten"]), ({"on_method": True}, ["ten"]), ({}, [])],
    ids=["class", "method", "nowhere"],
)
async def test_a_flow_s_own_persistence_saves_where_persist_says(on: dict[str, bool], saves: list[str]) -> None:
    """In place of the decorator's store; without @persist it only restores, as CrewAI does."""
    kept = InMemory()
    flow = adding(**on)
    kept.states["x"] = {"id": "x", "n": 100}
    assert await flow(persistence=kept).akickoff({"id": "x"}) == 111
    assert (kept.saves, Path("unused.sqlite").exists()) == (saves, False)


async def test_a_kickoff_may_begin_with_a_copy_of_another_s_state() -> None:
    """Under a new id or that of the inputs, which count over it; what it came from stays as it is."""

    class Counted(BaseModel):
        n: int = 0
        note: str = ""

    store = SQLiteFlowPersistence("states.sqlite")

    @persist(store)
    class Counting(Flow[Counted]):
        @start()
        async def one(self) -> int:
            self.state.n += 1
            return self.state.n

    first, second, third = Counting(), Counting(), Counting()
    await first.akickoff({"id": "a", "note": "first"})
    assert await second.kickoff_async(restore_from_state_id="a") == 2
    assert await third.akickoff({"id": "c", "note": "third"}, restore_from_state_id="a") == 2
    assert second.flow_id not in ("a", "c")
    assert [store.load_state(one) for one in ("a", second.flow_id, "c")] == [
        {"id": "a", "n": 1, "note": "first"},
        {"id": second.flow_id, "n": 2, "note": "first"},
        {"id": "c", "n": 2, "note": "third"},
    ]


@pytest.mark.parametrize("has_store", [True, False])
async def test_a_state_to_restore_that_is_not_there_is_a_warning(has_store: bool) -> None:
    """The flow begins without it, as in CrewAI."""
    flow = adding()(persistence=InMemory() if has_store else None)
    with pytest.warns(
        CrewrunWarning, match=r"Adding: no state with id 'gone' to restore \((the InMemory at|nothing stores)"
    ):
        assert await flow.akickoff({"n": 1}, restore_from_state_id="gone") == 12


async def test_states_may_be_saved_and_loaded_by_hand() -> None:
    """As CrewAI's store is used, by keywords too; a flow then has the state under its id."""
    store = SQLiteFlowPersistence("states.sqlite")
    store.init_db()
    store.save_state("x", "work", {"id": "x", "n": 1})
    store.save_state(flow_uuid="x", method_name="work", state_data={"id": "x", "n": 5})
    store.save_state("y", "work", Found(words=["a"]))
    assert [store.load_state(flow_uuid=one) for one in ("x", "y", "z")] == [
        {"id": "x", "n": 5},
        {"words": ["a"]},
        None,
    ]
    assert await adding()(persistence=store).akickoff({"id": "x"}) == 16
    with pytest.raises(ValueError, match=r"a state is a dict or a pydantic model, not 'text'"):
        store.save_state("x", "work", "text")  # type: ignore[arg-type]  # what the test is about


async def test_a_class_made_of_ours_has_its_own_methods_called() -> None:
    """It may watch what is saved, and hand it on."""
    saves: list[str] = []

    class Watching(SQLiteFlowPersistence):
        def save_state(self, flow_uuid: str, method_name: str, state_data: Any) -> None:
            saves.append(method_name)
            super().save_state(flow_uuid, method_name, state_data)

    store = Watching("watched.sqlite")
    await adding(on_class=True)(persistence=store).akickoff({"id": "x"})
    assert (saves, store.load_state("x")) == (["one", "ten"], {"id": "x", "n": 11})
