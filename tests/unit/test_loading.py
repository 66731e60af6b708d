"""Files that do something when they are loaded: nothing is called or asked, and what they have defined is used."""

import sys
from io import StringIO
from typing import Any

import pytest
from support.user_files import in_an_empty_folder, write
from support.workspace import Place

from crewrun import CrewrunWarning, DefinitionError
from crewrun.definitions import load
from crewrun.errors import InputInvalid
from crewrun.loading import slow_load
from crewrun.loading.model_calls import called_model
from crewrun.loading.question_fields import question_fields
from crewrun.loading.questions import RepeatedQuestion, answering
from crewrun.target import CrewTarget
from crewrun.testing import scripted

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(in_an_empty_folder.__name__)]

CREW = """\
import asyncio, threading
from concurrent.futures import ThreadPoolExecutor
from crewrun import Agent, Crew, Flow, LLM, Task
from crewrun.flow import start

agent = Agent(role="R", goal="G", backstory="B", llm="openai/gpt-4.1-mini")
crew = Crew(agents=[agent], tasks=[Task(description="Do {topic}", expected_output="E", agent=agent)])
# line 8
"""
NO_CALL = "no model is called while a file is loaded"


async def loaded(text: str, ref: str = "demo.py:crew", **files: str) -> tuple[Any, list[str]]:
    """The target that `ref` names when demo.py is CREW and `text`, and the warnings. No model is there to be called."""
    write({"demo.py": CREW + text, **{name.replace("__", "/") + ".py": body for name, body in files.items()}})
    async with scripted():
        with pytest.warns(CrewrunWarning) as caught:
            target = load(ref).target
    return target, [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("body", "what", "line"),
    [
        pytest.param("crew.kickoff({'topic': 'x'})\n", "kickoff()", 9, id="a crew"),
        pytest.param("def main():\n    crew.kickoff()\nmain()\n", "kickoff()", 10, id="a function"),
        pytest.param("asyncio.run(crew.akickoff())\n", "akickoff()", 9, id="asyncio.run"),
        pytest.param(
            "async def main():\n    await asyncio.gather(crew.akickoff(), crew.kickoff_async())\nasyncio.run(main())\n",
            "akickoff()",
            11,
            id="gather",
        ),
        pytest.param(
            "async def main():\n"
            "    async with asyncio.TaskGroup() as group:\n"
            "        group.create_task(crew.akickoff())\n"
            "asyncio.run(main())\n",
            "akickoff()",
            12,
            id="a task group",
        ),
        pytest.param("crew.kickoff_for_each([{'topic': 'x'}])\n", "kickoff_for_each()", 9, id="for each"),
        pytest.param(
            "asyncio.get_event_loop().run_until_complete(crew.akickoff())\n", "akickoff()", 9, id="the thread's loop"
        ),
        pytest.param("agent.kickoff('x')\n", "kickoff()", 9, id="an agent"),
        pytest.param("LLM(model='gpt-4.1').call('x')\n", "call()", 9, id="a model"),
        pytest.param(
            "class F(Flow):\n    @start()\n    def go(self):\n        raise AssertionError\nF().kickoff()\n",
            "kickoff()",
            13,
            id="a flow",
        ),
        pytest.param(
            "try:\n    crew.kickoff()\nexcept Exception as failed:\n    raise AssertionError\n",
            "kickoff()",
            10,
            id="except Exception",
        ),
        pytest.param(
            "with ThreadPoolExecutor() as pool:\n    pool.submit(crew.kickoff).result()\n",
            "kickoff()",
            10,
            id="a thread of a pool",
        ),
        pytest.param(
            "import sys\ntry:\n    crew.kickoff()\nexcept:\n    sys.exit(1)\n", "kickoff()", 11, id="sys.exit after it"
        ),
    ],
)
async def test_a_file_is_loaded_up_to_its_first_kickoff(body: str, what: str, line: int) -> None:
    """Wherever that is called from; what is defined so far is used, and one warning has the place."""
    target, warned = await loaded(body)
    assert isinstance(target, CrewTarget)
    assert warned == [f"demo.py:{line}: loading stopped at {what}: {NO_CALL}, and what follows in the file was not run"]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        pytest.param("try:\n    crew.kickoff()\nexcept:\n    pass\nlast = 1\n", 10, id="a bare except"),
        pytest.param(
            "for _ in range(3):\n    try:\n        crew.kickoff()\n    except BaseException:\n        pass\n",
            11,
            id="again and again",
        ),
        pytest.param(
            "def work():\n    crew.kickoff()\nthread = threading.Thread(target=work)\nthread.start()\nthread.join()\n",
            10,
            id="a thread",
        ),
        pytest.param(
            "thread = threading.Thread(target=crew.kickoff); thread.start(); thread.join()\n",
            9,
            id="a thread without code of the user's",
        ),
    ],
)
async def test_a_stop_that_the_file_goes_on_after_is_warned_of(body: str, line: int) -> None:
    """Once a place."""
    target, warned = await loaded(body)
    assert isinstance(target, CrewTarget)
    assert warned == [f"demo.py:{line}: loading stopped at kickoff(): {NO_CALL}, and the file went on without it"]


async def test_a_thread_that_a_load_starts_kicks_off_never() -> None:
    """Not even after the load, when nothing else of it is left."""
    write(
        {
            "demo.py": CREW
            + "go = threading.Event()\n"
            + "def work():\n    go.wait()\n    crew.kickoff({'topic': 'x'})\n"
            + "thread = threading.Thread(target=work)\nthread.start()\n"
            + "def finish():\n    go.set()\n    thread.join()\n"
        }
    )
    async with scripted():
        load("demo.py:crew")
        demo = sys.modules["demo"]
        with pytest.warns(CrewrunWarning) as caught:
            demo.finish()
    assert [str(warning.message) for warning in caught] == [
        "demo.py:12: loading stopped at kickoff() in a thread that was started while the file was loaded"
    ]


async def test_the_innermost_file_is_stopped() -> None:
    """What imports it goes on; a name that it did not get to is told with both places."""
    inner = "from crewrun import Crew\nearly = 1\nimport base\nbase.crew.kickoff()\nlate = 2\n"
    files = {"inner.py": inner, "base.py": CREW}
    write({**files, "good.py": "from inner import early\nfrom base import crew\n"})
    with pytest.warns(CrewrunWarning, match=r"inner\.py:4: loading stopped at kickoff\(\)"):
        assert isinstance(load("good.py:crew").target, CrewTarget)
    sys.modules.pop("inner")
    write({"bad.py": "from inner import late\nfrom base import crew\n"})
    with pytest.raises(DefinitionError) as caught:
        load("bad.py:crew")
    assert str(caught.value) == (
        "bad.py:1: cannot import name 'late' from 'inner': inner.py:4: loading stopped at kickoff(): "
        f"{NO_CALL}, and what follows in the file was not run"
    )


async def test_a_name_behind_the_stop_is_told_with_it() -> None:
    """And what went wrong after a stop that the file swallowed."""
    write({"demo.py": CREW + "crew.kickoff()\nother = crew\n"})
    with pytest.raises(DefinitionError) as caught:
        load("demo.py:other")
    assert str(caught.value) == (
        "demo.py:other: module 'demo' has no 'other' so far: demo.py:9: loading stopped at kickoff(): "
        f"{NO_CALL}, and what follows in the file was not run"
    )
    write({"more.py": CREW + "try:\n    result = crew.kickoff()\nexcept:\n    pass\nprint(result)\nother = crew\n"})
    with pytest.raises(DefinitionError) as caught:
        load("more.py:other")
    assert str(caught.value) == (
        "more.py:other: module 'more' has no 'other' so far: more.py:10: loading stopped at kickoff(): "
        f"{NO_CALL}, and what follows in the file was not run; "
        "then more.py:13 raised NameError: name 'result' is not defined"
    )


CLIENT = """\
import socket

def ask(host, port):
    socket.create_connection((host, port), timeout=5)
"""


@pytest.mark.parametrize(
    ("body", "called"),
    [
        pytest.param("socket.getaddrinfo('api.openai.com', 443)", "api.openai.com", id="a provider's host"),
        pytest.param("socket.getaddrinfo('x.openai.azure.com', 443)", "x.openai.azure.com", id="one of many"),
        pytest.param(
            "socket.getaddrinfo('bedrock-runtime.eu-west-1.amazonaws.com', 443)",
            "bedrock-runtime.eu-west-1.amazonaws.com",
            id="Bedrock",
        ),
        pytest.param("socket.getaddrinfo('models.example', 80)", "models.example", id="an address in a variable"),
        pytest.param("socket.create_connection(('127.0.0.1', 11434))", "127.0.0.1:11434", id="Ollama"),
        pytest.param(
            "import replicate\nreplicate.ask('127.0.0.1', 9)",
            "127.0.0.1:9 by replicate",
            id="a package that calls models",
        ),
        pytest.param(
            "call = threading.Thread(target=socket.getaddrinfo, args=('api.groq.com', 443))\ncall.start()\ncall.join()",
            "api.groq.com",
            id="in a thread",
        ),
    ],
)
async def test_a_call_of_a_model_by_other_means_is_none(
    body: str, called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its host, its address or whose code connects: before a packet leaves."""
    monkeypatch.setenv("MY_BASE_URL", "http://models.example/v1")
    monkeypatch.syspath_prepend("site-packages")
    write({"site-packages/replicate/__init__.py": CLIENT})
    target, warned = await loaded(f"import socket\n{body}\n")
    assert isinstance(target, CrewTarget)
    assert len(warned) == 1
    assert f"loading stopped at a call to {called}: {NO_CALL}" in warned[0]


@pytest.mark.parametrize(
    ("host", "port", "called"),
    [
        ("127.0.0.1", 9, "127.0.0.1:9 by openai"),
        ("my.example", 443, "my.example by openai"),
        ("raw.githubusercontent.com", 443, None),
        ("169.254.169.254", 80, None),
        ("oauth2.googleapis.com", 443, None),
        ("sts.eu-west-1.amazonaws.com", 443, None),
        ("bedrock-runtime.eu-west-1.amazonaws.com", 443, "bedrock-runtime.eu-west-1.amazonaws.com"),
    ],
)
def test_a_client_may_fetch_all_but_answers(host: str, port: int, called: str | None) -> None:
    """Prices, tokenizers, credentials: making a client of a library is no call of a model."""
    assert called_model(host, port, ["/x/site-packages/httpx/_client.py", "/x/site-packages/openai/a.py"]) == called


async def test_other_connections_are_free() -> None:
    """A file may read what it needs."""
    body = """
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()):
        pass
"""
    write({"demo.py": CREW + "import socket\n" + body})
    assert isinstance(load("demo.py:crew").target, CrewTarget)


@pytest.mark.parametrize(
    ("body", "at"),
    [
        pytest.param("with socket.socket() as s:\n    s.bind(('127.0.0.1', 8123))", "demo.py:11", id="in the file"),
        pytest.param("import served\nserved.run()", "demo.py:11", id="by a library"),
    ],
)
async def test_a_server_is_not_started(body: str, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load would never end."""
    monkeypatch.syspath_prepend("site-packages")
    run = "import socket\ndef run():\n    with socket.socket() as server:\n        server.bind(('127.0.0.1', 8123))\n"
    write({"site-packages/served.py": run})
    target, warned = await loaded(f"import socket\n{body}\n")
    assert isinstance(target, CrewTarget)
    assert warned == [
        f"{at}: loading stopped at a server on port 8123: no server is started while a file is loaded, "
        "and what follows in the file was not run"
    ]


ASKING = """\
import os, sys, getpass
from crewrun import Agent, Crew, Task

def make(text):
    agent = Agent(role="R", goal="G", backstory="B", llm="offline")
    return Crew(agents=[agent], tasks=[Task(description=text, expected_output="E", agent=agent)])
# line 7
"""


@pytest.mark.parametrize(
    "question",
    [
        pytest.param('topic = input("Topic? ")', id="a text"),
        pytest.param('topic = input("Topic? ").strip() or "AI"', id="stripped, with a default"),
        pytest.param("topic: str = str(input())", id="annotated"),
        pytest.param("print(topic := input())", id="a walrus"),
        pytest.param('def ask(what):\n    return input(what).strip()\ntopic = ask("?")', id="in a function"),
        pytest.param('inputs = {"topic": input()}\ntopic = inputs["topic"]', id="a mapping's value"),
        pytest.param("topic = sys.stdin.readline().strip()", id="a line of standard input"),
        pytest.param('topic = ""\nwhile not topic:\n    topic = input()', id="until there is one"),
        pytest.param('input("Press Enter")\ntopic = input()', id="after a pause"),
    ],
)
def test_an_answer_that_is_a_text_is_a_placeholder(question: str) -> None:
    """Of the name that it is assigned to; it goes through f-strings into the crew, and rows fill it."""
    write({"demo.py": f'{ASKING}{question}\ncrew = make(f"About {{topic}}, " + topic + ", " + "%s." % topic)\n'})
    crew = load("demo.py:crew").crew
    assert (crew.tasks[0].description, set(crew.placeholders)) == ("About {topic}, {topic}, {topic}.", {"topic"})


@pytest.mark.parametrize(
    ("question", "told"),
    [
        pytest.param(
            'n = int(input("How many? "))', "8: input('How many? '), whose answer is given to int()", id="int"
        ),
        pytest.param("n = input()\nn = int(n)", "9: input(), whose answer is used as a number", id="int later"),
        pytest.param("n = input()\nn = float(n)", "9: input(), whose answer is used as a number", id="float later"),
        pytest.param('if input() == "y": pass', "8: input(), whose answer is compared", id="a comparison"),
        pytest.param('a = input()\nif a != "y": pass', "9: input(), whose answer is compared", id="compared later"),
        pytest.param("a, b = input().split()", "8: input(), whose answer is changed by .split()", id="two at once"),
        pytest.param("a = input().lower()", "8: input(), whose answer is changed by .lower()", id="changed"),
        pytest.param(
            "n = ''\nwhile True:\n    try:\n        n = int(input())\n        break\n"
            "    except ValueError:\n        pass",
            "11: input(), whose answer is given to int()",
            id="until it is a number",
        ),
        pytest.param("for line in sys.stdin: pass", "8: reading sys.stdin line by line", id="standard input"),
        pytest.param("k = getpass.getpass()", "8: getpass('Password: '), which asks for a secret", id="getpass"),
        pytest.param(
            'os.environ["A_KEY"] = input()', "8: input(), which asks for a secret", id="a variable of the environment"
        ),
    ],
)
def test_an_answer_that_is_more_than_a_text_is_refused(question: str, told: str) -> None:
    """With its line and the way out, where the crew comes after it; one that was made before is used."""
    write({"demo.py": f"{ASKING}{question}\ncrew = make('About it')\n"})
    with pytest.raises(DefinitionError) as caught:
        load("demo.py:crew")
    line, _, what = told.partition(": ")
    assert str(caught.value).startswith(
        f"demo.py:crew: module 'demo' has no 'crew' so far: demo.py:{line}: loading stopped at {what}"
    )


def test_a_question_behind_the_crew_is_a_warning() -> None:
    """As of a chat at the end of a file."""
    write({"demo.py": f"{ASKING}crew = make('About it')\nwhile input() != 'quit':\n    crew.kickoff()\n"})
    with pytest.warns(CrewrunWarning, match=r"demo\.py:9: loading stopped at input\(\), whose answer is compared"):
        assert isinstance(load("demo.py:crew").target, CrewTarget)


GIVEN_ON = """
def build(city, days):
    return f"{days} days in {city}"

class Trip:
    def __init__(self, city):
        self.city = city

    def run(self):
        assert self.city == "Rome"

def run():
    result = build(input("Where? "), int(input("How long? "))).upper()
    Trip(input()).run()
    return result
"""


def test_what_is_given_to_a_function_has_the_name_of_its_parameter() -> None:
    """And not that of what the function's result is assigned to: for rows, for `check`, and while it is loaded."""
    write({"demo.py": ASKING + GIVEN_ON + "crew = make(build(input(), '2'))\n"})
    crew = load("demo.py:crew").crew
    assert crew.tasks[0].description == "2 days in {city}"
    demo = sys.modules["demo"]
    with answering({"city": "Rome", "days": "3"}):
        assert demo.run() == "3 DAYS IN ROME"
    assert list(question_fields(demo.run)) == ["city", "days"]


def test_what_a_kickoff_gives_is_no_answer() -> None:
    """Its name is not the one that the row's answer is looked for by."""
    write({"demo.py": "def run(make):\n    result = make(input()).kickoff()\n    return result\n"})
    with pytest.raises(DefinitionError):
        load("demo.py:nothing")
    with answering({"result": "x"}), pytest.raises(InputInvalid, match="with no field, as it is assigned to no name"):
        sys.modules["demo"].run(str)


def test_code_that_asks_until_it_is_answered_ends() -> None:
    """It catches what says that there is no answer, and would ask for ever."""

    def ask() -> str:
        while True:
            try:
                choice = input("Your choice? ")
            except Exception:
                continue
            return choice

    with (
        answering({}),
        pytest.raises(RepeatedQuestion, match="asks the row again, which answers with the field 'choice', which it"),
    ):
        ask()


def test_rows_answer_questions() -> None:
    """By the name that the answer is assigned to, whatever is made of it; one without it is the row's input error."""
    write({"demo.py": "def ask():\n    n = int(input('How many? '))\n    input('Enter')\n    return n\n"})
    with pytest.raises(DefinitionError):
        load("demo.py:nothing")
    demo = sys.modules["demo"]
    with answering({"n": "3"}):
        assert demo.ask() == 3
    with answering({"m": 1}), pytest.raises(InputInvalid) as caught:
        demo.ask()
    assert str(caught.value) == (
        "demo.py:2: input('How many? ') is answered by the row, with the field 'n', which it does not have"
    )


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param("sys.exit('bye')", "demo.py:{line}: loading stopped at sys.exit('bye'), {rest}", id="sys.exit"),
        pytest.param("exit()", "demo.py:{line}: loading stopped at sys.exit(), {rest}", id="exit"),
        pytest.param(
            "import argparse; p = argparse.ArgumentParser(); p.add_argument('topic'); p.parse_args()",
            "demo.py:{line}: loading stopped at its own arguments, of which it has none here, "
            "and what follows in the file was not run; give them defaults, or read them under "
            "`if __name__ == '__main__':`",
            id="argparse",
        ),
        pytest.param(
            "topic = sys.argv[1]",
            "demo.py:{line}: loading stopped at its own arguments, of which it has none here, "
            "and what follows in the file was not run; give them defaults, or read them under "
            "`if __name__ == '__main__':`",
            id="sys.argv",
        ),
    ],
)
def test_a_file_that_ends_the_process_is_told(body: str, told: str) -> None:
    """Unless it has the crew by then."""
    rest = "and what follows in the file was not run; put that under `if __name__ == '__main__':`"
    write({"demo.py": f"{ASKING}{body}\ncrew = make('it')\n"})
    with pytest.raises(DefinitionError) as caught:
        load("demo.py:crew")
    told = told.replace("{rest}", rest)
    assert str(caught.value) == f"demo.py:crew: module 'demo' has no 'crew' so far: {told.replace('{line}', '8')}"
    write({"late.py": f"{ASKING}crew = make('it')\n{body}\n"})
    with pytest.warns(CrewrunWarning) as warned:
        assert isinstance(load("late.py:crew").target, CrewTarget)
    assert [str(w.message) for w in warned] == [told.replace("demo.py:{line}", "late.py:9")]


def test_a_file_sees_no_arguments_but_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours are not for its parser, and are there again when it is loaded."""
    monkeypatch.setattr(sys, "argv", ["crewrun", "batch", "x"])
    write({"demo.py": f"{ASKING}crew = make(repr(sys.argv))\n"})
    crew = load("demo.py:crew").crew
    assert (crew.tasks[0].description, sys.argv) == ("['demo.py']", ["crewrun", "batch", "x"])


def test_a_load_that_takes_long_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, with the line of the user's that waits."""
    monkeypatch.setattr(slow_load, "PATIENCE_S", 0.01)
    told = StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    waiting = "import time\nwhile 'demo.py' not in sys.stderr.getvalue():\n    time.sleep(0.001)\n"
    write({"demo.py": f"{ASKING}{waiting}crew = make('it')\n"})
    load("demo.py:crew")
    assert told.getvalue().count("\n") == 1
    assert told.getvalue().startswith(("demo.py:9: loading has taken 0.01 s", "demo.py:10: loading has taken 0.01 s"))


def test_the_price_table_is_the_local_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library that the user's code imports fetches it on our account; what the user set stays."""
    monkeypatch.delenv("LITELLM_LOCAL_MODEL_COST_MAP", raising=False)
    write({"demo.py": f"{ASKING}crew = make(os.environ['LITELLM_LOCAL_MODEL_COST_MAP'])\n"})
    crew = load("demo.py:crew").crew
    assert crew.tasks[0].description == "True"


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("crew.kickoff({'topic': 'x'})", id="a kickoff"),
        pytest.param("print(LLM(model='gpt-4.1-mini').call('x'))", id="a model"),
        pytest.param(
            "import urllib.request\nurllib.request.urlopen(os.environ['OPENAI_BASE_URL'] + '/chat/completions', b'{}')",
            id="a request of its own",
        ),
        pytest.param(
            "thread = threading.Thread(target=crew.kickoff, args=({'topic': 'x'},))\nthread.start()\nthread.join()",
            id="a thread",
        ),
        pytest.param(
            "try:\n    crew.kickoff({'topic': 'x'})\nexcept:\n    crew.kickoff({'topic': 'x'})", id="swallowed"
        ),
    ],
)
def test_no_command_pays_for_what_a_file_does_when_it_is_loaded(place: Place, call: str) -> None:
    """The endpoint sees the rows' requests and no other; `check`, `plan` and `batch` each load the file."""
    text = CREW.replace("import asyncio, threading", "import asyncio, os, threading").replace("openai/", "")
    (place.folder / "main.py").write_text(f"{text}{call}\n")
    (place.folder / "crew.yaml").unlink()
    place.rows({"topic": "a"}, {"topic": "b"})
    assert place.crewrun("check", "in.jsonl") == []
    assert place.crewrun("plan", "in.jsonl") == []
    assert place.batch() == ["Do a", "Do b"]
    assert "loading stopped at" in place.stderr
    assert sorted(place.done()) == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(
            "key = os.environ['MY_KEY']",
            "demo.py:{line}: MY_KEY is not set in the environment; export it, or put it into .env",
            id="looked up",
        ),
        pytest.param(
            "class Model(BaseModel):\n    name: str\nModel(name=os.getenv('MY_MODEL'))",
            "demo.py:{line}: Model: name: Input should be a valid string\n"
            "(not set in the environment, and asked for in demo.py: MY_MODEL)",
            id="used",
        ),
    ],
)
def test_a_variable_that_is_not_set_is_named(body: str, told: str) -> None:
    """Where the user's code fails for want of it."""
    text = f"import os\nfrom pydantic import BaseModel\n{body}"
    write({"demo.py": f"{text}\n"})
    with pytest.raises(DefinitionError) as caught:
        load("demo.py")
    assert str(caught.value) == told.replace("{line}", str(len(text.splitlines())))


def test_a_tool_is_imported_from_a_package_of_its_own() -> None:
    """As some have it in CrewAI."""
    write({"demo.py": "from crewai_tools.tools.serper_dev_tool.serper_dev_tool import SerperDevTool\n"})
    with pytest.raises(DefinitionError, match=r"demo.py: nothing in it can be run"):
        load("demo.py")
    write({"other.py": "from crewai_tools.tools import PDFSearchTool\n"})
    with pytest.raises(DefinitionError, match=r"other.py:1: crewrun has no tool 'PDFSearchTool'.*install crewai-tools"):
        load("other.py")
