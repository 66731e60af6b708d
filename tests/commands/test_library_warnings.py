"""What other libraries warn of: never a failure, in a command never on the terminal, and not lost.

The library that warns is made for it: it stands on the way of imports, in a folder of installed packages, and warns
whenever one of some modules is imported, in whatever thread and call that is.
"""

import json
import warnings
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from textwrap import dedent

import anyio
import anyio.to_thread
import pytest
from support.command import crewrun, read_rows, topics, write_crew, write_rows
from support.forks import Forks
from support.provider import Provider, serving

from crewrun.library_warnings import tolerant

NOISY = """\
import sys, warnings

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in {names!r}:
            warnings.warn("please do not import " + name)

sys.meta_path.insert(0, Finder())
"""
ANSWER = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-3-5-haiku-20241022",
    "content": [{"type": "text", "text": "Hello!"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "output_tokens": 5},
}


def noisy(folder: Path, *names: str) -> dict[str, str]:
    """The environment of a process in which warnings are exceptions and the import of `names` warns."""
    installed = folder / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "noisy.py").write_text(NOISY.format(names=names), encoding="utf-8")
    (installed / "sitecustomize.py").write_text("import noisy\n", encoding="utf-8")
    return {"PYTHONPATH": str(installed), "PYTHONWARNINGS": "error"}


def warned_of(folder: Path) -> list[str]:
    """The modules whose imports the run's log has warnings of, sorted."""
    log = folder / "in.results.jsonl.crewrun" / "log.jsonl"
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    found = [event for event in events if event["event"] == "warning"]
    assert {(event["category"], event["place"]) for event in found} <= {("UserWarning", "noisy.py:6")}
    return sorted(event["message"].removeprefix("please do not import ") for event in found)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serving() as served:
        served.reply(ANSWER)
        yield served


@pytest.mark.anyio
@pytest.mark.xdist_group("litellm")
async def test_calls_through_litellm_go_on_when_warnings_are_exceptions(provider: Provider, tmp_path: Path) -> None:
    """Of what is imported in a thread before the first call and of what is imported in a call, the log tells."""
    before, within = "litellm.main", "litellm.llms.anthropic.chat.handler"
    write_crew(tmp_path, f"{{model: anthropic/claude-3-5-haiku-20241022, base_url: '{provider.url}', api_key: key}}")
    write_rows(tmp_path / "in.jsonl", topics(3))
    env = noisy(tmp_path, before, within)
    command = partial(crewrun, "batch", "in.jsonl", "--retries", "0", cwd=tmp_path, env=env, timeout=180)
    done = await anyio.to_thread.run_sync(command)
    assert (done.returncode, done.stdout, "noisy" in done.stderr) == (0, "", False), done.stderr
    assert [row["output"] for row in read_rows(tmp_path / "in.results.jsonl")] == ["Hello!"] * 3
    assert warned_of(tmp_path) == [within, before]


def test_a_command_goes_on_whichever_library_warns(tmp_path: Path) -> None:
    """What the command line, the crew file, schemas, the cache and the offline model import; the log has them all."""
    names = ("diskcache", "dotenv", "jsonschema.validators", "pydantic.type_adapter", "typer", "yaml")
    write_crew(tmp_path)
    crew = (tmp_path / "crew.yaml").read_text(encoding="utf-8")
    schema = "    output_schema: {type: object, properties: {title: {type: string}}, required: [title]}\n"
    one_line = "    expected_output: One line\n"
    (tmp_path / "crew.yaml").write_text(crew.replace(one_line, one_line + schema), encoding="utf-8")
    (tmp_path / ".env").write_text("A_KEY=x\n", encoding="utf-8")
    write_rows(tmp_path / "in.jsonl", topics(3))
    done = crewrun("batch", "in.jsonl", "--cache", "cache", cwd=tmp_path, env=noisy(tmp_path, *names))
    assert (done.returncode, done.stdout, "noisy" in done.stderr) == (0, "", False), done.stderr
    assert [row["status"] for row in read_rows(tmp_path / "in.results.jsonl")] == ["ok"] * 3
    assert warned_of(tmp_path) == sorted(names)


def test_without_a_run_folder_they_go_to_python_s_logging(tmp_path: Path) -> None:
    """Where nobody has set logging up, nothing is printed."""
    write_crew(tmp_path)
    env = noisy(tmp_path, "yaml")
    done = crewrun("run", "-i", "topic=Tides", "-q", cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "logged.py").write_text(
        dedent("""\
            import logging
            from crewrun import Agent, Crew, Task

            logging.basicConfig(format="%(name)s: %(message)s")
            import colorsys

            agent = Agent(role="Writer", goal="Write", backstory="Years")
            crew = Crew(agents=[agent], tasks=[Task(description="Write", expected_output="x", agent=agent)])
            """),
        encoding="utf-8",
    )
    env = noisy(tmp_path / "second", "colorsys")
    done = crewrun("run", "logged.py:crew", "-q", cwd=tmp_path, env={**env, "CREWRUN_MODEL": "offline"})
    told = "py.warnings: noisy.py:6: UserWarning: please do not import colorsys\n"
    assert (done.returncode, done.stderr) == (0, told)


FLOW = """\
import warnings
from crewrun.flow import Flow, listen, router, start

class Lost(Flow):
    @start()
    def begin(self):
        warnings.warn("the tide is out")

    @router(begin)
    def decide(self):
        return "left"

    @listen("right")
    def go(self): ...
"""
UNHEARD = "warning: lost.py:13: Lost.go listens to 'right', which is no method, and no router returns it\n"
OURS = (
    "warning: lost.py:9: Lost.decide returned 'left', which nothing listens to, so its branch ends there; the labels "
    "are 'right'. Return None to end without this warning\n"
)


def test_warnings_of_crewrun_and_of_the_users_code_are_shown(tmp_path: Path, forks: Forks) -> None:
    """As ever: ours as one line, theirs as Python has it."""
    (tmp_path / "lost.py").write_text(FLOW, encoding="utf-8")
    done = forks.crewrun("run", "lost.py:Lost", "-q", cwd=tmp_path)
    theirs = f"{tmp_path}/lost.py:7: UserWarning: the tide is out\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", UNHEARD + theirs + OURS)


def test_the_users_filters_hold_for_the_users_own_code(tmp_path: Path) -> None:
    """With PYTHONWARNINGS=error what it warns of is its own exception; what crewrun warns of is none."""
    (tmp_path / "lost.py").write_text(FLOW, encoding="utf-8")
    env = {"PYTHONWARNINGS": "error"}
    done = crewrun("run", "lost.py:Lost", "-q", cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (3, "")
    assert "lost.py:7: UserWarning: the tide is out" in done.stderr
    (tmp_path / "lost.py").write_text(FLOW.replace("warnings.warn", "str"), encoding="utf-8")
    done = crewrun("run", "lost.py:Lost", "-q", cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", UNHEARD + OURS)


@pytest.mark.anyio
async def test_in_a_program_only_the_calls_are_spared(anyio_backend: str) -> None:
    """While one is under way, in its tasks and threads alike, the program's own warnings are what its filters say."""
    arrived, go_on = anyio.Event(), anyio.Event()
    ended: list[str] = []

    @tolerant
    async def call() -> None:
        arrived.set()
        await go_on.wait()
        warnings.warn("in the call", stacklevel=1)
        await anyio.to_thread.run_sync(load)
        ended.append("call")

    def load() -> None:
        warnings.warn("in its thread", stacklevel=1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await arrived.wait()
            with pytest.raises(UserWarning, match="of the program"):
                warnings.warn("of the program", stacklevel=1)
            go_on.set()
        warnings.simplefilter("error")  # again, as a user's code may do between two calls
        await call()
        before = len(warnings.filters)
        await call()
        assert len(warnings.filters) == before
    assert ended == ["call"] * 3
    assert {str(warning.message) for warning in caught} == {"in the call", "in its thread"}
