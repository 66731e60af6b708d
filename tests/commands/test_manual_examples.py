"""The commands in the README and the manual run as they stand there, against the mock server."""

import csv
import io
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from support.command import write_crew, write_rows
from support.documents import DOCUMENTS, blocks, sections
from support.forks import Forks
from support.mock_process import MockProcess
from support.paths import MANUAL, README, SAMPLES

# What a test cannot run, and why. A reason that no command has any more fails.
NOT_RUN = {
    r"\bpip install\b": "it would change this environment",
    r"^(?:export )?(?:ollama|vllm|RAY_AUTH_MODE|ray start)\b": "programs of others",
    r"ollama/|localhost:8000": "a server that is not there",
    r"--executor ray": "a cluster; tests/unit/test_ray_cluster.py has one",
    r"^crewrun mock .*&|127\.0\.0\.1:8123": "tests/commands/test_mock.py runs the server, on a free port",
    r"^export OPENAI_API_KEY": "the mock server takes any key",
    r"night[.l]|/srv/topics|\.venv/|^ *mail\b": "the script for cron has a test of its own",
    r"article\.py": "tests/commands/test_flow_commands.py has the file",
    r"init --from tickets\.csv|tickets\.csv .*-o -": "the test of the three commands runs them",
    r"photos\.jsonl": "tests/commands/test_input_files.py has the files",
}
KEY = {"OPENAI_API_KEY": "sk-proj-0123456789abcdef"}
PROJECT = {
    "config/agents.yaml": "clerk: {role: Clerk, goal: Write, backstory: Old}\n",
    "config/tasks.yaml": "draft: {description: 'Write about {topic}', expected_output: One line, agent: clerk}\n",
}


def reason(command: str) -> str | None:
    """Why the command is not run, None if it is."""
    return next((pattern for pattern in NOT_RUN if re.search(pattern, command)), None)


def examples(text: str) -> list[str]:
    return [command for block in blocks(text, "sh") for command in block.commands]


def on_all_machines(command: str) -> list[str]:
    """The command for the first of four shards, and those that the page leaves to the reader."""
    return [command.replace(" 1/4", f" {part}/4") for part in range(1, 5)] if "--shard 1/4" in command else [command]


def fill(folder: Path, section: str) -> None:
    """The files that the pages name, and the crew and the table that this section shows."""
    shutil.copytree(SAMPLES, folder / "sample_inputs")
    write_crew(folder, llm="gpt-4.1-mini")
    write_rows(folder / "topics.jsonl", [{"topic": topic} for topic in ("Tides", "Zero", "Salt")])
    write_rows(folder / "articles.jsonl", [{"title": "Tides"}, {"title": "Zero"}])
    for name, text in PROJECT.items():
        (folder / "my_project" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "my_project" / name).write_text(text)
    for block in blocks(section, "yaml"):
        if block.text.startswith("agents:") and "tickets.csv" in section:
            (folder / "crew.yaml").write_text(block.text)
    for block in blocks(section, "python"):
        if block.text.startswith("# checks.py\n"):
            (folder / "checks.py").write_text(block.text)
    for block in blocks(section, "text"):
        if block.text.startswith("id,"):
            (folder / "tickets.csv").write_text(block.text)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_the_commands_of_a_page_run(document: Path, tmp_path: Path, served: tuple[MockProcess, Forks]) -> None:
    """Those of a section one after another in one folder, as a reader would give them; a run has been there before."""
    mock, forks = served
    env = {"OPENAI_BASE_URL": mock.base_url} | KEY
    failed = {}
    for number, section in enumerate(sections(document).values()):
        commands = [each for command in examples(section) if not reason(command) for each in on_all_machines(command)]
        if not commands:
            continue
        folder = tmp_path / str(number)
        fill(folder, section)
        if "topics.results.jsonl" in section:
            forks.shell("crewrun batch topics.jsonl -q", folder, env)
        for command in commands:
            done = forks.shell(f"set -o pipefail; {command}", folder, env)
            if done.returncode or "Traceback" in done.stderr:
                failed[command] = done.stderr[-1000:]
    assert failed == {}


def test_three_commands_lead_from_a_checkout_to_the_answers_for_a_table_of_ones_own(
    tmp_path: Path, forks: Forks
) -> None:
    """The README's, in a folder that has nothing but a table as Excel writes it in Germany."""
    section = sections(README)["Your own table, in three commands"]
    install, init, batch = blocks(section, "sh")[0].commands
    assert install == "pip install -c constraints.txt -e ."
    table = "Ticket ID;Betreff\n7001;Anmeldung geht nicht\n7002;Größe falsch\n"
    (tmp_path / "tickets.csv").write_bytes(table.encode("cp1252"))
    done = forks.shell(f"set -e; {init}; {batch}", tmp_path)
    assert done.returncode == 0, done.stderr
    answers = list(csv.DictReader(io.StringIO(done.stdout[done.stdout.index("id,") :])))
    assert [(row["input.Betreff"], row["status"]) for row in answers] == [
        ("Anmeldung geht nicht", "ok"),
        ("Größe falsch", "ok"),
    ]
    assert all("Betreff: " + row["input.Betreff"] in row["output"] for row in answers)


def test_the_crew_file_that_the_manual_explains_is_one(tmp_path: Path, forks: Forks) -> None:
    """With the tool of the page on tools, which it names."""
    (tmp_path / "crew.yaml").write_text(blocks((MANUAL / "crews.md").read_text("utf-8"), "yaml")[0].text)
    (tmp_path / "my_tools.py").write_text(blocks((MANUAL / "tools.md").read_text("utf-8"), "python")[0].text)
    write_rows(tmp_path / "topics.jsonl", [{"topic": "Tides"}])
    done = forks.crewrun("check", "topics.jsonl", "--strict", cwd=tmp_path, env={"SERPER_API_KEY": "x" * 20} | KEY)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_what_is_shown_of_other_languages_can_be_read(document: Path) -> None:
    """YAML, TOML, JSON and Python without a mistake in their syntax."""
    text = document.read_text("utf-8")
    for block in blocks(text, "python"):
        compile(block.text, document.name, "exec")
    for block in blocks(text, "yaml"):
        yaml.safe_load(block.text)
    for block in blocks(text, "toml"):
        tomllib.loads(block.text)
    for block in blocks(text, "json"):
        json.loads(block.text)


def test_every_reason_not_to_run_a_command_is_that_of_one() -> None:
    """What is left out grows stale otherwise."""
    commands = [command for document in DOCUMENTS for command in examples(document.read_text("utf-8"))]
    assert [pattern for pattern in NOT_RUN if not any(re.search(pattern, command) for command in commands)] == []
