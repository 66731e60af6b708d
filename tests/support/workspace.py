"""A folder to run crewrun in, again and again, with an eye on what is sent."""

import json
from pathlib import Path
from typing import Any

from support.command import write_crew, write_rows
from support.forks import Forks
from support.mock_process import MockProcess

# What is asked where it has to be told whether a refusal is about one row or about everybody.
PROBE = "This is a connection test. Reply with the single word OK."
KEY = "sk-proj-0123456789abcdef"
RESULTS, STATE = "in.results.jsonl", "in.results.jsonl.crewrun"


class Place:
    """A folder with a crew and an input, and the endpoint that its runs call."""

    def __init__(self, folder: Path, mock: MockProcess, forks: Forks) -> None:
        self.folder = folder
        self.mock = mock
        self.forks = forks
        self.env = {"OPENAI_BASE_URL": mock.base_url, "OPENAI_API_KEY": KEY}
        self.stdout = self.stderr = ""

    @property
    def results(self) -> Path:
        """The results file of `in.jsonl`."""
        return self.folder / RESULTS

    def crew(self, *tasks: str, more: str = "", llm: str = "gpt-4.1-mini") -> str:
        """Write a crew of one agent, a task about {topic}, and `tasks`; its text."""
        return write_crew(self.folder, llm, tasks, more).read_text()

    def rows(self, *rows: Any) -> None:
        """Write `in.jsonl`."""
        write_rows(self.folder / "in.jsonl", rows)

    def batch(
        self, *flags: str, inputs: str = "in.jsonl", code: int = 0, stdin: str | None = None, **env: str
    ) -> list[str]:
        """Run the command, which ends with `code`. What was asked for: the first line of each prompt, sorted."""
        return self.crewrun("batch", inputs, *flags, code=code, stdin=stdin, **env)

    def crewrun(self, *args: str, code: int = 0, stdin: str | None = None, **env: str) -> list[str]:
        """As `batch`, for any command."""
        seen = self.sent()
        done = self.forks.crewrun(*args, cwd=self.folder, env=self.env | env, stdin=stdin)
        self.stdout, self.stderr = done.stdout, done.stderr
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        return self.asked_since(seen)

    def sent(self) -> int:
        """How many requests came so far."""
        return int(self.mock.ledger(last=0)["totals"]["requests"])

    def asked_since(self, seen: int) -> list[str]:
        """What the requests behind the first `seen` ask for, sorted; probes are counted."""
        requests = self.mock.ledger(last=self.sent() - seen)["requests"]
        talks = (request["messages"] for request in requests if request["messages"])  # embeddings have none
        contents = (next(m["content"] for m in messages if m["role"] == "user") for messages in talks)
        prompts = (content if isinstance(content, str) else content[0]["text"] for content in contents)
        asked = sorted(prompt.removeprefix("Your task: ").partition("\n")[0] for prompt in prompts)
        self.probes = asked.count(PROBE)
        return [prompt for prompt in asked if prompt != PROBE]

    def summary(self) -> dict[str, Any]:
        """What the last command wrote by `--summary s.json`."""
        found: dict[str, Any] = json.loads((self.folder / "s.json").read_text())
        return found

    def stopped(self) -> str:
        """Why the run stopped, as stderr says it."""
        (line,) = [line for line in self.stderr.splitlines() if line.startswith("stopped: ")]
        return line.removeprefix("stopped: ")

    def done(self) -> list[Any]:
        """The topics of the results, in their order. All have succeeded."""
        rows = [json.loads(line) for line in self.results.read_text().splitlines()]
        assert {row["status"] for row in rows} <= {"ok"}
        return [row["input"]["topic"] for row in rows]
