"""Files that go to a model with a task: `input_files` of tasks and kickoffs, in every kind of crew."""

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from support.command import problems, read_rows, shell
from support.content_parts import data_uri, image, png, text
from support.local_workers import NEAR
from support.paths import MANUAL
from support.workspace import STATE, Place

from crewrun import Agent, Crew, InputInvalid, Process, Task
from crewrun.definitions import load
from crewrun.errors import CrewrunWarning
from crewrun.executors.remote.packaging import package_crew
from crewrun.files import AudioFile, File, FileBytes, ImageFile, PDFFile, TextFile, VideoFile
from crewrun.files.attachment import attach
from crewrun.flow.flow import Flow, start
from crewrun.messages import Message
from crewrun.testing import calls, scripted

pytestmark = pytest.mark.anyio

CREW = """\
llm: gpt-4.1-mini
agents:
  looker:
    role: Looker
    goal: Look
    backstory: Eyes.
tasks:
  look:
    agent: looker
    description: Say what is on {photo}
    expected_output: One line
    input_files:
      photo: "{photo}"
      rules: rules.md
"""
RULES = text("File rules (rules.md):\n# Be kind\n")


@pytest.fixture
def gallery(place: Place) -> Place:
    """A folder with a crew that looks at a row's `photo`, and two photos."""
    folder = place.folder
    (folder / "photos").mkdir()
    (folder / "photos" / "cat.png").write_bytes(png(1))
    (folder / "photos" / "dog.png").write_bytes(png(2))
    (folder / "rules.md").write_text("# Be kind\n")
    (folder / "crew.yaml").write_text(CREW)
    return place


def sent_parts(place: Place) -> list[list[Any]]:
    """Behind its text, what each request's user said, in their order."""
    requests = place.mock.ledger()["requests"]
    contents = [next(m["content"] for m in request["messages"] if m["role"] == "user") for request in requests]
    return [content[1:] if isinstance(content, list) else [] for content in contents]


def test_a_row_names_a_file_of_the_crew_s_folder(gallery: Place) -> None:
    """By a path, an address that is passed on, its content, or a list of these; a fixed file goes to every row."""
    addressed = "https://example.com/bird.png?size=2"
    photos = ["photos/cat.png", addressed, data_uri(png(3)), ["photos/dog.png", "photos/cat.png"], []]
    gallery.rows(*({"photo": photo} for photo in photos))
    asked = gallery.batch("-j", "1")
    images = [data_uri(png(1)), addressed, data_uri(png(3)), data_uri(png(2)), data_uri(png(1))]
    assert sent_parts(gallery) == [
        [image(images[0]), RULES],
        [image(addressed), RULES],
        [image(images[2]), RULES],
        [image(images[3]), image(images[4]), RULES],
        [],
    ]
    # Texts alone are one text, for servers that know no parts.
    last = gallery.mock.ledger()["requests"][-1]["messages"][1]["content"]
    assert last.endswith(f"nothing around it.\n\n{RULES['text']}")
    # The content itself is not told in words as well.
    assert "Say what is on photo" in asked
    assert [row["status"] for row in read_rows(gallery.results)] == ["ok"] * 5


def test_a_prompt_lists_its_files(gallery: Place) -> None:
    """By name, in their order; in the log and in `show` their labels stand for them."""
    gallery.rows({"photo": "photos/cat.png"})
    gallery.batch("--log-prompts")
    (row,) = read_rows(gallery.results)
    gallery.crewrun("show", str(gallery.results), row["id"], "--json")
    (call,) = json.loads(gallery.stdout)["calls"]
    told = (
        "Your task: Say what is on photos/cat.png\n\nThese files come with the task, in this order:\n"
        "- photo: cat.png (image/png)\n- rules: rules.md (text/markdown)\n\nYour final answer must satisfy: One line\n"
        "Reply with the complete answer itself and nothing around it.\n"
        f"[photo: cat.png, image/png, {len(png(1))} bytes]\nFile rules (rules.md):\n# Be kind\n"
    )
    assert (call["prompt"][1], call["prompt_source"]) == ({"role": "user", "content": told}, "log")
    log = Path(f"{gallery.results}.crewrun", "log.jsonl")
    assert b64encode(png(1)).decode() not in log.read_text()
    log.unlink()
    gallery.crewrun("show", str(gallery.results), row["id"], "--json")
    (call,) = json.loads(gallery.stdout)["calls"]
    assert (call["prompt"][1]["content"], call["prompt_source"]) == (told, "rebuilt")


def test_a_file_that_may_not_be_read_fails_its_row_before_a_call(gallery: Place) -> None:
    """Whatever is outside of the crew's folder, hidden, no file, too large or of no known kind; none is waited for."""
    folder, photos = gallery.folder, gallery.folder / "photos"
    outside = folder.parent / f"{folder.name}-secret.png"
    outside.write_bytes(png())
    (photos / "link.png").symlink_to(outside)
    (photos / "out").symlink_to(folder.parent)
    (photos / ".hidden.png").write_bytes(png())
    (photos / "empty.png").touch()
    (photos / "data.bin").write_bytes(b"\0\1")
    (photos / "latin.txt").write_bytes("Größe".encode("latin-1"))
    os.mkfifo(photos / "pipe.png")
    with (photos / "big.png").open("wb") as big:
        big.truncate(50_000_001)
    there = repr(str(folder))
    leaves, hidden = (
        f"leads out of {there}; only files inside may be used",
        "may not be named by a row, since",
    )
    no_address = "is not a URL for a model; those begin with https: or data:"
    faults: dict[Any, str] = {
        f"../{outside.name}": f"'../{outside.name}' {leaves}",
        str(outside): f"{str(outside)!r} {leaves}",
        "photos/link.png": f"'photos/link.png' {leaves}",
        f"photos/out/{outside.name}": f"'photos/out/{outside.name}' {leaves}",
        "/dev/zero": f"'/dev/zero' {leaves}",
        "photos/.hidden.png": f"'photos/.hidden.png' {hidden} '.hidden.png' is hidden",
        f"{STATE}/manifest.json": f"'{STATE}/manifest.json' {hidden} '{STATE}' is the state of a run",
        "photos/none.png": f"no file 'photos/none.png' in {there}",
        "{photo}": f"no file '{{photo}}' in {there}",
        "photos": "'photos' is a folder, not a file",
        "photos/pipe.png": "'photos/pipe.png' cannot be read: 'pipe.png' is a pipe, a socket or a device, not a file",
        "photos/empty.png": "'photos/empty.png' is empty",
        "photos/big.png": "'photos/big.png' is larger than 50 MB, the limit for files in a message",
        "photos/data.bin": "'data.bin' is not an image, PDF, text, audio or video of a known format",
        "photos/latin.txt": "'latin.txt' is a text that is not in UTF-8; save it as UTF-8",
        "file:///etc/passwd": f"'file:///etc/passwd' {no_address}",
        "ftp://x/a.png": f"'ftp://x/a.png' {no_address}",
        "https://x/a b.png": "'https://x/a b.png' contains spaces or control characters, so it is not a URL",
        "https://x/a.txt": "'a.txt' is text/plain at a URL, and crewrun fetches nothing from URLs; name a local file",
        "data:image/png": "'data:image/png' is not a data URI, which has the form data:TYPE;base64,CONTENT",
        "": "input 'photo' is empty, but it has to name a file",
        None: "input 'photo' is empty, but it has to name a file",
    }
    gallery.rows(*({"photo": photo} for photo in faults))
    assert gallery.batch(code=3) == []
    said = [
        message.removeprefix(f"line {i + 1}: ") for i, message in sorted(problems(read_rows(gallery.results)).items())
    ]
    assert said == [f"tasks.look.input_files.photo: {fault}" for fault in faults.values()]
    assert {row["error"]["category"] for row in read_rows(gallery.results)} == {"input"}


@pytest.fixture(scope="module")
def walled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crew's folder with links of all kinds, and a secret wherever they lead outside."""
    top = tmp_path_factory.mktemp("walled")
    folder = top / "crew"
    (folder / "in").mkdir(parents=True)
    for place in (top, folder / ".hidden", folder / "x.crewrun"):
        place.mkdir(exist_ok=True)
        (place / "secret").write_text("SECRET")
    (folder / "in" / "open").write_text("open")
    for name, target in {"up": "..", "far": str(top), "round": "round", "file": "../secret", "dot": ".hidden"}.items():
        (folder / name).symlink_to(target)
    return folder


_STEPS = st.sampled_from(
    ["..", ".", "", "in", "open", "up", "far", "round", "file", "dot", "secret", ".hidden", "x.crewrun", "crew", "~"]
)


@given(st.lists(_STEPS, min_size=1, max_size=6), st.sampled_from(["", "/", "{top}/", "//", "./", " "]))
def test_no_path_of_a_row_leads_to_what_it_may_not_read(walled: Path, steps: list[str], start: str) -> None:
    """However it is put together: it is refused, or leads to an open file of the crew's folder."""
    path = start.replace("{top}", str(walled.parent)) + "/".join(steps)
    try:
        (found,) = attach({"a": File(source="{path}")}, {"path": path}, walled, "input_files")
    except InputInvalid:
        return
    assert found.part.text == "File a (open):\nopen"


def test_a_changed_file_is_another_question(gallery: Place) -> None:
    """An answer is of a file's bytes, not of its name; a row that is done stays done."""
    gallery.rows({"photo": "photos/cat.png"}, {"photo": "photos/dog.png"})
    run = ("--cache", "answers")
    gallery.batch(*run)
    (gallery.folder / "photos" / "cat.png").write_bytes(png(4))
    assert [gallery.batch(*run), gallery.batch(*run, "--fresh")] == [[], ["Say what is on photos/cat.png"]]
    assert sent_parts(gallery)[-1] == [image(data_uri(png(4))), RULES]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("none.md", "no file 'none.md' in "),
        ("../rules.md", "'../rules.md' leads out of "),
        ("/etc/hostname", "'/etc/hostname' leads out of "),
        ("5", "needs the path or address of a file, not 5"),
        ("{path: rules.md}", "a file written as a mapping has `source`, its path or URL"),
        ("'file:///etc/x'", "'file:///etc/x' is not a URL for a model; those begin with https: or data:"),
    ],
)
def test_a_wrong_file_of_the_crew_is_named_with_its_line(gallery: Place, value: str, said: str) -> None:
    """Before the first row, as every fault of a crew's file."""
    (gallery.folder / "crew.yaml").write_text(CREW.replace("rules: rules.md", f"rules: {value}"))
    gallery.rows({"photo": "photos/cat.png"})
    assert gallery.batch(code=2) == []
    assert f"crew.yaml:14: tasks.look.input_files.rules: {said}" in gallery.stderr


def test_plan_and_check_look_at_the_files_and_send_nothing(gallery: Place) -> None:
    """A prompt is shown with labels, and counted as an image is."""
    gallery.rows({"photo": "photos/cat.png"}, {"photo": "none.png"})
    gallery.crewrun("plan", "in.jsonl", "--json")
    plan = json.loads(gallery.stdout)
    assert (plan["rows"], plan["failing_count"], plan["prompt_tokens"]["mean"] > 1_600) == (1, 1, True)
    gallery.crewrun("check", "in.jsonl", "--json", code=2)
    (first,) = json.loads(gallery.stdout)["first_row"]
    assert f"[photo: cat.png, image/png, {len(png(1))} bytes]" in first["messages"][1]["content"]
    gallery.crewrun("check", "--crew", "crew.yaml", "--json")
    (first,) = json.loads(gallery.stdout)["first_row"]
    assert "[photo: {photo}]" in first["messages"][1]["content"]


def test_a_crew_in_crewai_s_json_names_files_too(gallery: Place) -> None:
    """As text, or as a mapping with `source`."""
    task = {"name": "look", "agent": "looker", "description": "Look", "expected_output": "One line"}
    files = {"photo": "{photo}", "rules": {"source": "rules.md"}}
    looker = {"role": "Looker", "goal": "Look", "backstory": "Eyes.", "llm": "gpt-4.1-mini", "multimodal": True}
    crew = {"agents": {"looker": looker}, "tasks": [{**task, "input_files": files}]}
    (gallery.folder / "crew.yaml").unlink()
    (gallery.folder / "crew.jsonc").write_text(json.dumps(crew))
    gallery.rows({"photo": "photos/dog.png"})
    gallery.batch()
    assert (sent_parts(gallery), "warning" in gallery.stderr) == ([[image(data_uri(png(2))), RULES]], False)


PROJECT = """
from crewai import Agent, Crew, Task
from crewai.flow.flow import Flow, start
from crewai_files import ImageFile, TextFile

looker = Agent(role="Looker", goal="Look", backstory="Eyes.", llm="gpt-4.1-mini")

def crew(**files):
    task = Task(description="Look at {photo}", expected_output="One line", agent=looker, input_files=files)
    return Crew(agents=[looker], tasks=[task])

fixed = crew(photo="{photo}", rules=TextFile(source="rules.md"))

class Looking(Flow):
    @start()
    async def look(self):
        photo = ImageFile(source=self.state["photo"])
        return await crew().akickoff({"photo": self.state["photo"]}, input_files={"photo": photo})
"""


@pytest.mark.parametrize("ref", ["project/crew.py:fixed", "project/crew.py:Looking"])
def test_a_crew_in_python_keeps_rows_in_its_folder(gallery: Place, ref: str) -> None:
    """Whether a placeholder or its own code takes the path from the row; `crewai_files` is crewrun's."""
    folder = gallery.folder / "project"
    folder.mkdir()
    (folder / "crew.py").write_text(PROJECT)
    (folder / "rules.md").write_text("# Be kind\n")
    (folder / "cat.png").write_bytes(png(1))
    gallery.rows(
        {"photo": "cat.png"}, {"photo": "../photos/dog.png"}, {"photo": str(gallery.folder / "photos/dog.png")}
    )
    gallery.batch("--crew", ref, code=3)
    rules = [RULES] if "fixed" in ref else []
    assert sent_parts(gallery) == [[image(data_uri(png(1))), *rules]]
    errors = [row["error"] for row in read_rows(gallery.results)]
    assert [error and (error["category"], "leads out of" in error["message"]) for error in errors] == [
        None,
        ("input", True),
        ("input", True),
    ]


def test_files_are_there_on_workers_elsewhere(gallery: Place) -> None:
    """A worker loads the crew by itself, and reads its files where it is; the log has no content of them."""
    gallery.rows({"photo": "photos/cat.png"}, {"photo": "../x.png"})
    gallery.batch("--executor", NEAR, "--log-prompts", code=3)
    assert sent_parts(gallery) == [[image(data_uri(png(1))), RULES]]
    log = Path(f"{gallery.results}.crewrun", "log.jsonl").read_text()
    assert (f"[photo: cat.png, image/png, {len(png(1))} bytes]" in log, b64encode(png(1)).decode() in log) == (
        True,
        False,
    )


async def test_files_of_crewai_s_own_library_are_taken_over(tmp_path: Path) -> None:
    """Where it is installed, by what its objects have: a source that is a path, an address, or can be read."""

    class FilePath(BaseModel):
        path: Path
        filename: str = "cat.png"

    class FileUrl(BaseModel):
        url: str

    class Stream(BaseModel):
        filename: str = "notes.md"
        content_type: str = "text/markdown"

        def read(self) -> bytes:
            return b"Meow."

    class ImageFile(BaseModel):
        source: Any

    for kind in (FilePath, FileUrl, Stream, ImageFile):
        kind.__module__ = "crewai_files.core.types"
    path = tmp_path / "cat.png"
    path.write_bytes(png())
    addressed = ImageFile(source=FileUrl(url="https://example.com/cat"))
    files = {"here": ImageFile(source=FilePath(path=path)), "there": addressed, "notes": Stream()}
    async with scripted("done", "done") as model:
        await looking().akickoff(input_files=files)
        await looking().akickoff(inputs=files)
    expected = [image(data_uri(png())), image("https://example.com/cat"), text("File notes (notes.md):\nMeow.")]
    assert [wires(request.messages[-1]) for request in model.requests] == [expected, expected]


def test_a_crew_travels_with_the_files_that_rows_name(gallery: Place) -> None:
    """Nobody knows which ones they are, so its folder goes to a cluster; else its text would do."""
    crew = gallery.folder / "crew.yaml"
    assert package_crew(str(crew), load(crew), []).folder == str(gallery.folder)
    crew.write_text(CREW.partition("    input_files")[0])
    assert package_crew(str(crew), load(crew), []).folder is None


# In Python


def looking(description: str = "Look", **files: Any) -> Crew:
    agent = Agent(role="Looker", goal="Look", backstory="Eyes.")
    task = Task(description=description, expected_output="One line", agent=agent, input_files=files)
    return Crew(agents=[agent], tasks=[task])


def wires(message: Message) -> list[Any]:
    """The parts behind the text."""
    return [part.wire for part in message.parts[1:]]


async def test_files_of_a_flow_a_kickoff_and_a_task_come_together() -> None:
    """The nearest one of a name counts: the task's, then the inputs' and the kickoff's, then the flow's."""
    crew = looking("See {a}, {b}, {c}, {d} and {topic}", a=b"task")

    class Outer(Flow):
        @start()
        async def look(self) -> str:
            own = {"a": b"kickoff", "b": File(source=b"kickoff")}
            output = await crew.akickoff({"topic": "T", "c": TextFile(source=b"input")}, input_files=own)
            return str(output)

    async with scripted("done") as model:
        await Outer().akickoff(input_files=dict.fromkeys("abcd", b"flow"))
    asked = model.requests[0].messages[-1]
    files = ("File a:\ntask", "File b:\nkickoff", "File c:\ninput", "File d:\nflow")
    assert sorted(asked.content.split("\n\n")[-4:]) == sorted(files)
    assert asked.content.startswith(
        "Your task: See a, b, c, d and T\n\nThese files come with the task, in this order:\n"
    )


async def test_all_inputs_of_a_for_each_share_the_files(tmp_path: Path) -> None:
    """And without inputs a placeholder that names a file is its name, any other stays as it is."""
    Path(tmp_path, "chart.png").write_bytes(png())
    crew, files = looking("Read {chart} for {who}"), {"chart": tmp_path / "chart.png"}
    async with scripted("1", "2", "3") as model:
        await crew.akickoff_for_each([{"who": "Ann"}, {"who": "Bo"}], files, max_concurrent=1)
        with pytest.warns(CrewrunWarning, match=r"without inputs: the model is sent \{who\} of task 1 as it is"):
            await crew.kickoff_async(input_files=files)
    asked = [request.messages[-1] for request in model.requests]
    assert [message.content.partition("\n")[0] for message in asked] == [
        f"Your task: Read chart.png for {who}" for who in ("Ann", "Bo", "{who}")
    ]
    assert [wires(message) for message in asked] == [[image(data_uri(png()))]] * 3
    assert asked[0].parts[1] is asked[2].parts[1]  # read once, as long as somebody has it


async def test_a_manager_s_coworker_sees_the_files() -> None:
    """Nobody can tell them what is on a picture."""
    crew = looking(photo=png())
    crew = Crew(agents=crew.agents, tasks=crew.tasks, process=Process.hierarchical, manager_llm="openai/m")
    hand_over = calls("delegate_work_to_coworker", task="Look", context="", coworker="Looker")
    async with scripted(hand_over, "a cat", "It is a cat.") as model:
        await crew.akickoff()
    seen = [
        [part.wire for m in request.messages for part in m.parts if part.text is None] for request in model.requests
    ]
    assert seen == [[image(data_uri(png()))]] * 3


async def test_every_kind_of_file_goes_in_its_form() -> None:
    """As OpenAI's chat completions have them; a name and an address help where the content does not say."""
    wav = b"RIFF\0\0\0\0WAVEfmt "
    pdf, mp4 = b"%PDF-1.7\n", b"\0\0\0\x18ftypmp42"
    files: dict[str, Any] = {
        "image": png(),
        "sound": AudioFile(source=wav),
        "pdf": PDFFile(source=FileBytes(data=pdf, filename="r.pdf")),
        "film": VideoFile(source=mp4),
        "table": FileBytes(data=b"a,b\n", filename="t.csv"),
        "json": b'{"a": 1}',
        "sheet": FileBytes(data=b"PK\x03\x04\0", filename="s.xlsx"),
        "pdf_there": "https://example.com/r.pdf",
        "image_there": ImageFile(source="https://example.com/picture"),
        "film_there": "https://example.com/f.mp4",
        "bucket": "gs://bucket/cat.jpg",
    }
    async with scripted("done") as model:
        await looking(**files).akickoff()
    xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    assert wires(model.requests[0].messages[-1]) == [
        image(data_uri(png())),
        {"type": "input_audio", "input_audio": {"data": b64encode(wav).decode(), "format": "wav"}},
        {"type": "file", "file": {"filename": "r.pdf", "file_data": data_uri(pdf, "application/pdf")}},
        {"type": "video_url", "video_url": {"url": data_uri(mp4, "video/mp4")}},
        text("File table (t.csv):\na,b\n"),
        text('File json:\n{"a": 1}'),
        {"type": "file", "file": {"filename": "s.xlsx", "file_data": data_uri(b"PK\x03\x04\0", xlsx)}},
        {"type": "file", "file": {"filename": "r.pdf", "file_data": "https://example.com/r.pdf"}},
        image("https://example.com/picture"),
        {"type": "video_url", "video_url": {"url": "https://example.com/f.mp4"}},
        image("gs://bucket/cat.jpg"),
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a": 5}, "input_files.a: a file is a path, a URL, bytes or an open file, not int"),
        (["a.png"], "input_files is a mapping of names to files, not list"),
        ({"a": " "}, "input_files.a: an empty text does not name a file"),
        ({"": b"x"}, "input_files: '' is not a name for a file"),
    ],
)
async def test_what_is_no_file_says_which(files: Any, said: str) -> None:
    """To tasks and kickoffs alike."""
    with pytest.raises(ValueError, match=said):
        Task(description="d", expected_output="e", input_files=files)
    async with scripted():
        with pytest.raises(ValueError, match=said):
            await looking().akickoff(input_files=files)


async def test_content_of_another_kind_than_said_is_refused() -> None:
    """A provider would call it a broken image."""
    async with scripted():
        with pytest.raises(
            InputInvalid,
            match=r"^tasks\.task_1\.input_files\.a: the content is application/pdf, which is not for ImageFile$",
        ):
            await looking(a=ImageFile(source=b"%PDF-1.7")).akickoff()


def test_a_file_object_can_be_looked_at_and_unpacked(tmp_path: Path) -> None:
    """With CrewAI's properties; what is at an address is not fetched."""
    path = tmp_path / "chart.png"
    path.write_bytes(png())
    file = ImageFile(source=str(path), mode="strict")
    assert (file.filename, file.content_type, file.read(), {**file}) == (
        "chart.png",
        "image/png",
        png(),
        {"chart": file},
    )
    with pytest.raises(InputInvalid, match=r"^ImageFile: an empty text does not name a file$"):
        ImageFile(source="")
    with path.open("rb") as stream:
        assert File(source=stream).read() == png()
    assert TextFile(source="Größe".encode()).read_text() == "Größe"
    with pytest.raises(ValueError, match="fetches nothing"):
        ImageFile(source="https://example.com/a.png").read()


def test_the_manual_s_example_of_files_runs(tmp_path: Path) -> None:
    """Offline, as it stands there."""
    section = (MANUAL / "files.md").read_text(encoding="utf-8")
    yaml, commands = section.split("```yaml\n")[1].partition("```")[0], section.split("```sh\n")[1].partition("```")[0]
    (tmp_path / "crew.yaml").write_text(yaml)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mug.png").write_bytes(png())
    (tmp_path / "style.md").write_text("Plain words.")
    done = shell(f"set -e; {commands}", tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = read_rows(tmp_path / "photos.results.jsonl")
    assert (row["status"], row["models"], "mug.png" in row["output"]) == ("ok", ["offline"], True)
