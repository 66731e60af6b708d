"""Code of the user's that asks a row by argparse or by input(): what it is given, and what check says of it."""

import json
from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import read_rows, write_rows
from support.forks import crewrun
from support.user_files import in_an_empty_folder, write

from crewrun.loading.command_line import command_line

pytestmark = pytest.mark.usefixtures(in_an_empty_folder.__name__)

RUNNER = """\
import argparse
from crewai import Agent, Crew, Task
def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--question", required=True)
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("-v", "--verbose", action="store_true")
    return parser.parse_args()
def main():
    args = arguments()
    agent = Agent(role="R", goal="g", backstory="b")
    text = f"{args.question} {args.days} {args.verbose}"
    Crew(agents=[agent], tasks=[Task(description=text, expected_output="x", agent=agent)]).kickoff()
if __name__ == "__main__":
    main()
"""
FLOW = """\
from crewai.flow.flow import Flow, start
class Ask(Flow):
    @start()
    def ask(self):
        topic = input("Topic? ").strip()
        return self.more() if topic == "odd" else topic
    def more(self):
        self.reason = input("Why? ")
        return self.reason
"""


def test_a_row_is_the_command_line_of_a_runner(tmp_path: Path) -> None:
    """Its fields are the options, by their names; what is missing or unfit is the row's input error."""
    write({"run.py": RUNNER})
    given = [{"question": "-why?", "days": "3", "verbose": True}, {"days": 1}, {"question": "q", "days": "many"}]
    write_rows(tmp_path / "in.jsonl", given)
    ended = crewrun("batch", "in.jsonl", "--crew", "run.py", "-m", "offline", "-o", "out.jsonl", cwd=tmp_path)
    rows = sorted(read_rows(tmp_path / "out.jsonl"), key=lambda row: row["index"])
    assert "Your task: -why? 3 True" in rows[0]["output"]
    assert [(row["error"]["category"], row["error"]["message"]) for row in rows[1:]] == [
        (
            "input",
            "run.py:8: parse_args() is answered by the row's fields: the following arguments are required: --question",
        ),
        ("input", "run.py:8: parse_args() is answered by the row's fields: argument --days: invalid int value: 'many'"),
    ]
    assert "usage:" not in ended.stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("int(input())", "field 'days' does not fit: ValueError: invalid literal for int() with base 10: 'many'"),
        ("{'1': 1}[input()]", "field 'days' does not fit: KeyError: 'many'"),
        ("parsed(input())", None),
    ],
)
def test_an_answer_that_its_line_cannot_use_is_the_row_s_input_error(
    line: str, told: str | None, tmp_path: Path
) -> None:
    """What other code of the user's makes of it is that code's own affair."""
    text = RUNNER.replace("args = arguments()", f"days = {line}").replace("{args.question} {args.days}", "{days}")
    write({"run.py": text.replace("{args.verbose}", "").replace("def main", "def parsed(t): return int(t)\ndef main")})
    write_rows(tmp_path / "in.jsonl", [{"days": "many"}, {"days": "1"}])
    crewrun("batch", "in.jsonl", "--crew", "run.py", "-m", "offline", "-o", "out.jsonl", cwd=tmp_path)
    failed, succeeded = sorted(read_rows(tmp_path / "out.jsonl"), key=lambda row: row["index"])
    assert "Your task: 1" in succeeded["output"]
    error = failed["error"]["category"], failed["error"]["message"]
    where = "run.py:9: ValueError: invalid literal for int() with base 10: 'many'"
    assert error == (("input", f"run.py:11: {told}") if told else ("internal", where))


@pytest.mark.parametrize(
    ("file", "text", "fields"),
    [
        pytest.param("run.py", RUNNER, {"question": "run.py:5"}, id="argparse"),
        pytest.param("flow.py", FLOW, {"topic": "flow.py:5", "reason": "flow.py:8"}, id="input() in a flow"),
    ],
)
def test_check_lists_what_the_code_asks_for(file: str, text: str, fields: dict[str, str], tmp_path: Path) -> None:
    """Whether or not a row comes to the question."""
    write({file: text})
    checked = crewrun("check", "--crew", file, "--json", "-m", "offline", cwd=tmp_path)
    assert json.loads(checked.stdout)["crew"]["placeholders"] == fields


def parser() -> ArgumentParser:
    """One with arguments of all kinds."""
    parser = ArgumentParser()
    parser.add_argument("--name", "-n")
    parser.add_argument("-x", dest="short")
    parser.add_argument("--tags", nargs="*")
    parser.add_argument("--each", action="append")
    parser.add_argument("--quiet", dest="loud", action="store_false")
    parser.add_argument("--fast", action=BooleanOptionalAction)
    parser.add_argument("topic", nargs="?")
    return parser


texts = st.text(min_size=1)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": texts,
            "short": texts,
            "tags": st.lists(st.from_regex(r"[a-z]+", fullmatch=True), min_size=1),
            "each": st.lists(texts, min_size=1),
            "loud": st.booleans(),
            "fast": st.booleans(),
            "topic": texts,
        },
    )
)
def test_every_value_arrives_as_the_row_has_it(row: dict[str, Any]) -> None:
    """Whatever the text begins with."""
    found = vars(parser().parse_args(list(command_line(parser(), row))))
    assert {name: found[name] for name in row} == row


def test_a_subcommand_gets_the_fields_of_its_own_options() -> None:
    """The field that the parser calls it by says which."""
    main = ArgumentParser()
    main.add_subparsers(dest="command").add_parser("plan").add_argument("--days", type=int)
    assert vars(main.parse_args(list(command_line(main, {"command": "plan", "days": 3})))) == {
        "command": "plan",
        "days": 3,
    }
