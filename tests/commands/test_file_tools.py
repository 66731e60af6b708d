"""What the file tools leave alone on a model's word: hidden files, runs, and the crew itself; and files that move."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import write_rows
from support.forks import Forks
from support.local_workers import NEAR
from support.scripted_provider import Asked, Fickle, Reply

from crewrun.confinement.place import folder_at, open_regular, place_in
from crewrun.confinement.private_files import why_private
from crewrun.row_context import RowContext
from crewrun.tools.base import BaseTool
from crewrun.tools.directory_read import DirectoryReadTool
from crewrun.tools.file_read import FileReadTool
from crewrun.tools.file_writer import FileWriterTool
from crewrun.tools.toolbox import Toolbox

ELSEWHERE = ("--executor", NEAR)
CREW = """\
agents:
  clerk:
    role: Clerk
    goal: File things
    backstory: You have filed for years.
    tools: [FileReadTool, DirectoryReadTool, FileWriterTool, "shop.py:look_up"]
    llm: {model: gpt-4.1-mini, base_url: URL, api_key: k}
tasks:
  file:
    agent: clerk
    description: File {topic}
    expected_output: One line
    output_schema: line.json
"""
SHOP = "from helpers import a\n\ndef look_up(word: str) -> str:\n    'Look up.'\n    return word\n"
RESULT = '{"schema":"crewrun.result/1","id":"1","index":0,"status":"ok","input":{},"output":"theirs"}\n'
READ, LIST, WRITE = "Read_a_file_s_content", "List_files_in_directory", "File_Writer_Tool"

OWN, INPUT = "the crew was loaded from it", "it is the input"

Call = tuple[str, Mapping[str, Any]]


def read(*paths: str) -> list[Call]:
    return [(READ, {"file_path": path}) for path in paths]


def write(*paths: str) -> list[Call]:
    return [(WRITE, {"filename": path, "content": "theirs", "overwrite": True}) for path in paths]


class Sandbox:
    """A folder with a crew, files of all kinds and earlier runs, and a model that asks for what a test wants."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder, self.forks = folder, forks
        (folder / "crew.yaml").write_text(CREW)
        (folder / "shop.py").write_text(SHOP)
        (folder / "line.json").write_text('{"type": "object", "properties": {"line": {"type": "string"}}}')
        write_rows(folder / "in.jsonl", [{"topic": "owls"}])
        for name, text in {
            ".env": "KEY=secret-of-mine",
            ".git/config": "secret-of-mine",
            "docs/.drafts/a.txt": "secret-of-mine",
            "docs/a.txt": "a page",
            "helpers/a.py": "",
            "helpers/b.py": "",
            "old.jsonl": "theirs",
            "old.jsonl.crewrun/manifest.json": "{}",
            "old.jsonl.files/1/a.md": "theirs",
            "topics.results.1.jsonl": "theirs",
            "Topics.Results.JSONL": "theirs",
            "state/journal.sqlite": "",
            "state/log.jsonl": "theirs",
            "merged.jsonl": RESULT,
            "crewrun.files/1/a.md": "theirs",
            "states.db": "SQLite format 3\0",
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        (folder / "docs" / "link.txt").symlink_to("../.env")
        (folder / ".link").symlink_to("docs/a.txt")
        os.link(folder / ".env", folder / "hard.txt")

    def model(self, calls: Sequence[Call]) -> Fickle:
        """One that asks for `calls`, and then is done."""

        def mood(asked: Asked) -> Reply:
            is_told = any(message["role"] == "tool" for message in asked.body["messages"])
            return Reply(text='{"line": "done"}') if is_told else Reply(calls=calls)

        return Fickle(mood)

    def told(
        self,
        calls: Sequence[Call],
        *flags: str,
        command: Sequence[str] = ("batch", "in.jsonl"),
        api_key: str = "k",
    ) -> list[str]:
        """What a model is answered that asks for `calls`, in order."""
        with self.model(calls) as model:
            crew = CREW.replace("URL", model.base_url).replace("api_key: k", f"api_key: {api_key}")
            (self.folder / "crew.yaml").write_text(crew)
            done = self.forks.crewrun(*command, *flags, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return answers(model)


def answers(model: Fickle) -> list[str]:
    """What the calls of `model` gave, in their order."""
    return [message["content"] for message in model.asked[-1].body["messages"] if message["role"] == "tool"]


@pytest.fixture
def sandbox(tmp_path: Path, forks: Forks) -> Sandbox:
    return Sandbox(tmp_path, forks)


def refusals(told: Sequence[str]) -> list[str]:
    """Why each call was refused, the rest as it is."""
    return [one.partition(", since ")[2].partition(";")[0] or one for one in told]


EXECUTORS = [pytest.param((), id="inline"), pytest.param(ELSEWHERE, id="elsewhere")]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_model_reads_no_hidden_file_and_no_run(sandbox: Sandbox, executor: tuple[str, ...]) -> None:
    """Under no spelling and through no link; what else is in the folder it reads, the crew's own files too."""
    calls = read(
        *(
            ".env",
            "./.env",
            "docs/../.env",
            str(sandbox.folder / ".env"),
            ".ENV",
            "\uff0eenv",
            "\u200b.env",
            "hard.txt",
        ),
        *(".git/config", "docs/.drafts/a.txt", "docs/link.txt", ".link", ".none"),
        *("old.jsonl", "old.jsonl.crewrun/manifest.json", "old.jsonl.files/1/a.md", "topics.results.1.jsonl"),
        *("Topics.Results.JSONL", "state/log.jsonl", "merged.jsonl", "crewrun.files/1/a.md"),
        *("mine.txt", "mine.txt.crewrun/log.jsonl", "mine.txt.files/x", "sum.json", "cache/cache.db"),
        *("docs/a.txt", "shop.py", "in.jsonl"),
    )
    flags = ("-o", "mine.txt", "--summary", "sum.json", "--cache", "cache", *executor)
    told = sandbox.told(calls, *flags)
    state = "is the state of a run"
    assert refusals(told) == [
        *["'.env' is hidden"] * 4,
        "'.ENV' is hidden",
        "'\uff0eenv' is hidden",
        r"'\u200b.env' is hidden",
        "it is another name of a hidden file, or of one of this run",
        "'.git' is hidden",
        "'.drafts' is hidden",
        "'.env' is hidden",
        "'.link' is hidden",
        "'.none' is hidden",
        "'old.jsonl' holds the results of a run",
        f"'old.jsonl.crewrun' {state}",
        "'old.jsonl.files' holds files of a run's rows",
        "'topics.results.1.jsonl' holds the results of a run",
        "'Topics.Results.JSONL' holds the results of a run",
        f"'state' {state}",
        "it holds the results of a run, or its summary",
        "'crewrun.files' holds files of a run's rows",
        "'mine.txt' belongs to this run",
        f"'mine.txt.crewrun' {state}",
        "'mine.txt.files' belongs to this run",
        "'sum.json' belongs to this run",
        "'cache' belongs to this run",
        "a page",
        SHOP,
        '{"topic": "owls"}\n',
    ]
    assert told[0] == (
        "The tool failed: PermissionError: '.env' is not read, since '.env' is hidden; read another file. Hidden files "
        "and files of runs are read only where the developer names them: FileReadTool(file_path=…), or root=… for what "
        "is in a folder"
    )


@pytest.mark.parametrize("executor", [(), ELSEWHERE], ids=["inline", "elsewhere"])
def test_a_crew_with_a_key_written_into_it_is_not_read(sandbox: Sandbox, executor: Sequence[str]) -> None:
    """What a model reads, it may pass on; a reference to a variable is no key."""
    calls = [*read("crew.yaml", "./docs/../crew.yaml"), (LIST, {"directory": "."})]
    *refused, listed = sandbox.told(calls, *executor, api_key="sk-literal-0123456789abcdef")
    assert ["has a secret of the crew written into it" in answer for answer in refused] == [True, True]
    assert ("crew.yaml" in listed, "shop.py" in listed) == (False, True)
    assert "agents:" in sandbox.told(read("crew.yaml"), *executor, "--fresh", api_key="k")[0]


def test_a_model_is_listed_no_hidden_file_and_no_run(sandbox: Sandbox) -> None:
    """And it is told that some are left out; where none are, nothing is said."""
    (sandbox.folder / "plain").mkdir()
    (sandbox.folder / "plain" / "b.txt").touch()
    calls: list[Call] = [(LIST, {"directory": name}) for name in (".", "docs", "plain", ".git", "state", "none")]
    told = sandbox.told(calls, "-o", "mine.txt", "--summary", "sum.json", "--cache", "cache")
    note = "[hidden files and files of runs are left out; the developer may name their folder: DirectoryReadTool(…)]"
    assert [re.sub(r".*__pycache__/.*\n", "", one) for one in told[:3]] == [
        f"crew.yaml\nin.jsonl\nline.json\nshop.py\nstates.db\ndocs/a.txt\nhelpers/a.py\nhelpers/b.py\nplain/b.txt\n{note}",
        f"docs/a.txt\n{note}",
        "plain/b.txt",
    ]
    assert refusals(told[3:]) == [
        "'.git' is hidden",
        "'state' is the state of a run",
        "The tool failed: NotADirectoryError: there is no directory 'none'",
    ]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_model_does_not_write_the_crew_its_input_or_a_run(sandbox: Sandbox, executor: tuple[str, ...]) -> None:
    """Nor what would be the crew's, or a module of it, the next time; all of them stay as they are."""
    os.link(sandbox.folder / "in.jsonl", sandbox.folder / "same.jsonl")
    before = {path: path.read_bytes() for path in sandbox.folder.rglob("*") if path.is_file()}
    code = "Python may take it for a part of the crew's code"
    refused = {
        "in.jsonl": INPUT,
        "same.jsonl": INPUT,
        "crew.yaml": OWN,
        "line.json": OWN,
        "docs/../crew.yaml": OWN,
        "Crew.YAML": "a crew is defined in a file of that name",
        "crew.jsonc.": "a crew is defined in a file of that name",
        "pyproject.toml": "a crew is defined in a file of that name",
        "config/agents.yaml": "the crew's definition and code are in 'config'",
        "agents/clerk.jsonc": "the crew's definition and code are in 'agents'",
        "tools/more.py": "the crew's definition and code are in 'tools'",
        "shop.py": "it is the crew's Python code",
        "helpers/a.py": "it is the crew's Python code",
        "helpers/b.py": code,
        "json.py": code,
        "json/__init__.py": code,
        ".env": "'.env' is hidden",
        "docs/.drafts/b.txt": "'.drafts' is hidden",
        "mine.txt": "'mine.txt' belongs to this run",
        "sum.json": "'sum.json' belongs to this run",
        "mine.txt.files/x": "'mine.txt.files' belongs to this run",
        "old.jsonl": "'old.jsonl' holds the results of a run",
        "new.results.jsonl": "'new.results.jsonl' holds the results of a run",
        "state/x": "'state' is the state of a run",
        "merged.jsonl": "it holds the results of a run, or its summary",
        "states.db": "it is a database, such as runs and flows keep their state in",
        "hard.txt": "it is another name of a hidden file, or of one of this run",
    }
    told = sandbox.told(write(*refused), "-o", "mine.txt", "--summary", "sum.json", *executor)
    assert dict(zip(refused, refusals(told), strict=True)) == refused
    assert told[0] == (
        f"The tool failed: PermissionError: 'in.jsonl' is not written, since {INPUT}; choose another name, or a "
        "directory such as 'output'. Hidden files, files of runs, inputs, and the crew's own definition and code are "
        "not written"
    )
    unchanged = before | {sandbox.folder / "crew.yaml": (sandbox.folder / "crew.yaml").read_bytes()}
    assert {path: path.read_bytes() for path in before} == unchanged
    assert b"theirs" not in (sandbox.folder / "crew.yaml").read_bytes()
    written = ["output/game.py", "docs/a.txt", "output/crew.yaml", "output/config.yaml", "notes.json"]
    assert sandbox.told(write(*written), "-o", "mine.txt", "--fresh", *executor) == [
        f"Wrote 6 bytes to {path!r}." for path in written
    ]


def test_streams_that_are_files_are_left_alone(sandbox: Sandbox) -> None:
    """Rows from `< in.jsonl`, results to `> out.txt` and what is said to `2> err.txt` are this run's all the same."""
    calls = [*read("out.txt", "err.txt", "in.jsonl"), *write("out.txt", "err.txt", "in.jsonl")]
    with sandbox.model(calls) as model:
        (sandbox.folder / "crew.yaml").write_text(CREW.replace("URL", model.base_url))
        command = "crewrun batch - --crew crew.yaml < in.jsonl > out.txt 2> err.txt"
        assert sandbox.forks.shell(command, cwd=sandbox.folder).returncode == 0
    assert refusals(answers(model)) == [
        "'out.txt' belongs to this run",
        "'err.txt' belongs to this run",
        '{"topic": "owls"}\n',
        "'out.txt' belongs to this run",
        "'err.txt' belongs to this run",
        INPUT,
    ]


def test_one_kickoff_leaves_the_same_files_alone(sandbox: Sandbox) -> None:
    """`crewrun run` knows its crew, the file of its inputs, and where the crew's batches write."""
    (sandbox.folder / "one.json").write_text('{"topic": "owls"}')
    calls = [*read(".env", "old.jsonl"), *write("crew.yaml", "one.json", "shop.py", ".env", "notes.md")]
    assert refusals(sandbox.told(calls, command=("run", "--inputs", "@one.json"))) == [
        "'.env' is hidden",
        "'old.jsonl' holds the results of a run",
        OWN,
        INPUT,
        "it is the crew's Python code",
        "'.env' is hidden",
        "Wrote 6 bytes to 'notes.md'.",
    ]


# Without a command


async def use(tool: BaseTool, **arguments: Any) -> str:
    """What a model is answered that calls `tool`."""
    return (await Toolbox([tool]).use(tool.name, json.dumps(arguments), {}, RowContext())).text


@pytest.mark.anyio
async def test_what_the_developer_names_is_read_and_listed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hidden file, a folder as the root, a run's results; what is hidden in a folder that is named stays hidden."""
    monkeypatch.chdir(sandbox.folder)
    note = "[hidden files and files of runs are left out; the developer may name their folder: DirectoryReadTool(…)]"
    (sandbox.folder / ".git" / ".more").touch()
    assert await use(FileReadTool(file_path=".env")) == "KEY=secret-of-mine"
    assert await use(FileReadTool(file_path=".env"), file_path="docs/../.env") == "KEY=secret-of-mine"
    assert await use(FileReadTool(file_path="merged.jsonl")) == RESULT
    assert await use(FileReadTool(root=Path(".git")), file_path="config") == "secret-of-mine"
    assert await use(FileReadTool(root=Path("old.jsonl.files")), file_path="1/a.md") == "theirs"
    assert await use(DirectoryReadTool(directory=".git")) == f".git/config\n{note}"
    assert await use(DirectoryReadTool(directory="state")) == f"state/log.jsonl\n{note}"
    assert await use(FileWriterTool(root=Path(".git")), filename="new", content="x") == "Wrote 1 bytes to 'new'."
    assert await use(FileWriterTool(root=Path("src")), filename="new.py", content="x") == "Wrote 1 bytes to 'new.py'."
    assert refusals(
        [
            await use(FileWriterTool(), directory="src", filename="more.py", content="x"),
            await use(FileReadTool(file_path=".env"), file_path=".git/config"),
            await use(FileReadTool(root=Path(".git")), file_path=".more"),
            await use(DirectoryReadTool(directory=".")),
        ]
    )[:3] == ["the crew's definition and code are in 'src'", "'.git' is hidden", "'.more' is hidden"]


@pytest.mark.anyio
async def test_what_is_listed_is_what_may_be_read(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither tool tells of a file that the other one keeps back."""
    monkeypatch.chdir(sandbox.folder)
    files = [str(path.relative_to(sandbox.folder)) for path in sandbox.folder.rglob("*") if path.is_file()]
    readable = [name for name in files if ", since " not in await use(FileReadTool(), file_path=name)]
    *listed, _ = (await use(DirectoryReadTool(), directory=".")).splitlines()
    assert sorted(listed) == sorted(readable)
    assert 0 < len(listed) < len(files)


@pytest.mark.anyio
async def test_a_kickoff_in_python_keeps_to_names(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody says which files are its run's, but hidden ones, runs, and the crew beside the program are known."""
    monkeypatch.chdir(sandbox.folder)
    reader, writer = FileReadTool(), FileWriterTool()
    assert refusals(
        [
            await use(reader, file_path=".env"),
            await use(reader, file_path="old.jsonl"),
            await use(writer, filename="crew.yaml", content="x", overwrite=True),
            await use(writer, filename="shop.py", content="x", overwrite=True),
            await use(writer, directory="config", filename="tasks.yaml", content="x"),
        ]
    ) == [
        "'.env' is hidden",
        "'old.jsonl' holds the results of a run",
        "a crew is defined in a file of that name",
        "Python code in the crew's directory is the crew's",
        "the crew's definition and code are in 'config'",
    ]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        pytest.param(".env", "'.env' is hidden", id="a hidden file"),
        pytest.param("crew.yaml", OWN, id="the crew"),
        pytest.param("old.jsonl", "'old.jsonl' holds the results of a run", id="results"),
    ],
)
def test_an_input_does_not_name_such_a_file_as_an_output(sandbox: Sandbox, value: str, why: str) -> None:
    """Where `output_file` is filled in, before the call is made; a row of a batch has a folder of its own."""
    crew = CREW.replace("{topic}", "{name}").replace("output_schema: line.json", 'output_file: "{name}"')
    (sandbox.folder / "crew.yaml").write_text(crew)
    before = {path: path.read_bytes() for path in sandbox.folder.rglob("*") if path.is_file()}
    done = sandbox.forks.crewrun("run", "-i", f"name={value}", "-m", "offline?tools=0", "--json", cwd=sandbox.folder)
    row = json.loads(done.stdout)
    assert (done.returncode, row["attempts"], row["error"]["category"], row["error"]["message"]) == (
        3,
        0,
        "input",
        f"tasks.file.output_file is '{{name}}', which these inputs make {value!r}; not written, since {why}",
    )
    assert {path: path.read_bytes() for path in before} == before
    write_rows(sandbox.folder / "in.jsonl", [{"name": value}])
    assert sandbox.forks.crewrun("batch", "in.jsonl", "-m", "offline?tools=0", cwd=sandbox.folder).returncode == 0
    (written,) = (sandbox.folder / "in.results.jsonl.files").glob("*/*")
    assert written.name == value


# Files that move between the look and the deed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.txt").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("secret")
    return root


def swap_folder(root: Path) -> None:
    (root / "sub").rename(root / "old")
    (root / "sub").symlink_to("../out")


def swap_file(root: Path) -> None:
    (root / "sub" / "a.txt").unlink()
    (root / "sub" / "a.txt").symlink_to("../../out/a.txt")


@pytest.mark.parametrize("swap", [swap_folder, swap_file])
def test_a_path_that_becomes_a_link_is_not_followed(root: Path, swap: Any) -> None:
    """Neither its last part nor one before it: what was looked at is what is opened."""
    place = place_in(root, "sub/a.txt")
    swap(root)
    with pytest.raises(OSError, match=r"Too many levels of symbolic links|Not a directory"):
        open_regular(place)


def test_a_folder_that_becomes_a_link_is_not_written_into(root: Path) -> None:
    """Nor is one made behind it."""
    place = place_in(root, "sub/new/a.txt")
    swap_folder(root)
    with (
        pytest.raises(OSError, match=r"Too many levels of symbolic links|Not a directory"),
        folder_at(place.home, place.folder, make=True),
    ):
        raise AssertionError
    assert [path.name for path in (root.parent / "out").iterdir()] == ["a.txt"]


@pytest.fixture
def swapping(root: Path) -> Iterator[None]:
    """`sub` is a folder and a link out of the root in turn, all the time."""
    (root / "link").symlink_to("../out")
    is_over = Event()

    def swap() -> None:
        while not is_over.is_set():
            (root / "sub").rename(root / "aside")
            (root / "link").rename(root / "sub")
            (root / "sub").rename(root / "link")
            (root / "aside").rename(root / "sub")

    thread = Thread(target=swap)
    thread.start()
    yield
    is_over.set()
    thread.join()


@pytest.mark.anyio
@pytest.mark.usefixtures("swapping")
async def test_nothing_outside_is_reached_while_folders_move(root: Path) -> None:
    """Hundreds of calls in a race with somebody who puts a link in the folder's place."""
    (root.parent / "out" / "secret.txt").touch()
    for _ in range(200):
        assert "secret" not in await use(FileReadTool(root=root), file_path="sub/a.txt")
        assert "secret" not in await use(DirectoryReadTool(root=root), directory="sub")


PARTS = ["..", ".", "", "docs", ".env", ".git", "old.jsonl", "old.jsonl.crewrun", "a.txt"]


@given(parts=st.lists(st.sampled_from(PARTS), max_size=6))
def test_a_path_with_a_hidden_part_is_private(parts: list[str]) -> None:
    """Whatever is put together: one that still has such a part below the root when it is resolved is not shown."""
    path = "/".join(["base", *parts]).lstrip("/")
    try:
        place = place_in(Path("/nowhere"), path)
    except PermissionError:
        return
    is_hidden = any(part.startswith(".") for part in Path(place.path).relative_to("/nowhere").parts)
    assert (why_private(place) is not None) >= is_hidden
