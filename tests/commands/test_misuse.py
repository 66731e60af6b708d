"""A wrong command line gets one line in our words: the flag as it was written, what is needed, and the way out."""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.command import write_crew, write_rows
from support.forks import crewrun

from crewrun.batch_flags import batch_flags
from crewrun.cli import app as command_line
from crewrun.cli.foreign_flags import advice_for_command, advice_for_flag, names
from crewrun.flag_fields import Kind

FOREIGN_FLAGS, FOREIGN_COMMANDS = names()
# What Typer, click and pydantic say.
FOREIGN_WORDS = re.compile(
    r"Traceback|Error:|Invalid value|No such|Got unexpected|Missing |requires an|Input should|Usage:"
)
OWN_FLAGS = {name for field in batch_flags().values() for name in (field.option, field.flag.short)}
NUMBERS = {
    Kind.COUNT: "a whole number from 0",
    Kind.POSITIVE: "a number above 0",
    Kind.NOT_NEGATIVE: "a number from 0",
    Kind.ROWS_OR_AUTO: "a whole number from 1, or 'auto'",
    Kind.WORKERS_OR_AUTO: "a whole number from 1, or 'auto'",
}


def said(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> str:
    """What a command says that is refused."""
    done = crewrun(*words, cwd=folder, env=env)
    assert (done.returncode, done.stdout, FOREIGN_WORDS.findall(done.stderr)) == (2, "", []), (words, done.stderr)
    return done.stderr.removeprefix("crewrun: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("batch in.jsonl -j eight", "-j: needs to be a whole number from 1, or 'auto', not 'eight'"),
        ("batch in.jsonl -j0", "-j: needs to be a whole number from 1, or 'auto', not '0'"),
        (
            "batch in.jsonl --max-concurrent=-3",
            "--max-concurrent: needs to be a whole number from 1, or 'auto', not '-3'",
        ),
        ("plan in.jsonl -j eight", "-j: needs to be a whole number from 1, or 'auto', not 'eight'"),
        ("batch in.jsonl --fresh=yes", "--fresh: takes no value; leave out what follows the ="),
        ("batch in.jsonl --limit", "--limit: needs a value, N: Run at most N rows."),
        (
            "batch in.jsonl -o --fresh",
            "--output: needs a value, FILE, before --fresh; if that is the value: --output=--fresh",
        ),
        ("batch in.jsonl --frsh", "batch has no flag --frsh; did you mean --fresh?"),
        (
            "batch in.jsonl --resum",
            "batch has no flag --resum; the same command goes on where it stopped; --fresh starts over",
        ),
        ("batch in.jsonl --zzz", "batch has no flag --zzz; crewrun batch --help lists the flags"),
        ("batch in.jsonl --verify", "batch has no flag --verify; it is a flag of crewrun status"),
        ("status in.jsonl --jobs 3", "status has no flag --jobs; crewrun status --help lists the flags"),
        ("-j 4 batch in.jsonl", "-j comes after its command, as in: crewrun batch -j …"),
        ("--zzz", "there is no flag --zzz; crewrun --help lists the commands, and COMMAND --help its flags"),
        ("run topic=x bar", "'bar': an input is written NAME=VALUE, as in topic=AI; what to run comes first"),
        ("gc --older-than x", "--older-than: needs to be a number from 0, not 'x'"),
        ("bench -n 0", "-n: needs to be a whole number from 1, not '0'"),
        ("export x --status maybe", "--status: needs to be 'ok' or 'failed', not 'maybe'"),
        ("completion tcsh", "completion: needs to be 'bash', 'zsh' or 'fish', not 'tcsh'"),
        ("mock --fail x", "--fail: 'x' is not RATE:STATUS, such as 0.1:500"),
        ("in.jsonl", "'in.jsonl' is no command; to run a crew on its rows: crewrun batch in.jsonl"),
        ("my.csv.gz -j 3", "'my.csv.gz' is no command; to run a crew on its rows: crewrun batch my.csv.gz"),
        ("in.results.jsonl", "'in.results.jsonl' is no command; how far that run is: crewrun status in.results.jsonl"),
        (
            "crew.yaml",
            "'crew.yaml' is no command; to run that crew: crewrun batch INPUTS --crew crew.yaml, or once: "
            "crewrun run crew.yaml",
        ),
        ("bacth in.jsonl", "there is no command 'bacth'; did you mean crewrun batch?"),
        ("resume in.jsonl", "there is no command 'resume'; crewrun batch INPUTS goes on where it stopped"),
        ("zzz", "there is no command 'zzz'; crewrun --help lists them"),
    ],
)
def test_one_line_says_what_is_wrong(line: str, message: str, tmp_path: Path) -> None:
    """Nothing is read or sent."""
    assert said(tmp_path, *line.split()) == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("batch", "INPUTS is missing: A "),
        ("plan", "INPUTS is missing: A "),
        ("show", "RUN is missing: The results file of a run, or its run folder."),
        ("merge a", "--output FILE is missing: Where the merged results go"),
        (
            "batch in.jsonl b.csv",
            "batch takes one table, and 'b.csv' is another; run them one after the other, or join them",
        ),
        ("batch in.jsonl topic=x", "batch takes no 'topic=x' there; an input for all rows is -i topic=x"),
        ("retry a b", "retry takes no further 'b'"),
    ],
)
def test_what_is_missing_or_too_much_is_said_with_the_usage(line: str, message: str, tmp_path: Path) -> None:
    """And with the command that explains it."""
    first, usage, more = said(tmp_path, *line.split()).split("\n")
    name = line.split(maxsplit=1)[0]
    assert (first[: len(message)], usage[: 14 + len(name)]) == (message, f"usage: crewrun {name}"[: 14 + len(name)])
    assert more == f"try: crewrun {name} --help"


def test_a_value_may_look_like_a_flag_behind_an_equals_sign(tmp_path: Path) -> None:
    """Nothing else can be meant by that."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", [{"topic": "x"}])
    assert crewrun("batch", "in.jsonl", "--output=--fresh", cwd=tmp_path).returncode == 0
    assert (tmp_path / "--fresh").exists()


@pytest.mark.parametrize("flag", FOREIGN_FLAGS)
def test_a_flag_of_another_tool_says_what_to_use(flag: str, tmp_path: Path) -> None:
    """Also where a flag of ours is spelled alike."""
    written = f"--{flag}" if len(flag) > 1 else f"-{flag}"
    assert written not in OWN_FLAGS
    assert said(tmp_path, "batch", "in.jsonl", written, "1") == f"batch has no flag {written}; {advice_for_flag(flag)}"


def test_a_command_of_another_tool_says_what_to_use(tmp_path: Path) -> None:
    """In this tool's commands."""
    for name in FOREIGN_COMMANDS:
        assert said(tmp_path, name) == f"there is no command {name!r}; {advice_for_command(name)}"


def test_the_advice_names_flags_and_commands_that_exist() -> None:
    """So that it does not outlive them."""
    advices = [*map(advice_for_flag, FOREIGN_FLAGS), *map(advice_for_command, FOREIGN_COMMANDS)]
    text = "\n".join(filter(None, advices))
    listed = {name for functions in command_line._COMMANDS.values() for name in functions}
    assert set(re.findall(r"crewrun ([a-z]+)", text)) <= listed
    flags = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text)) - {
        "--help",
        "--version",
        "--delete",
        "-f",
        "--dry-run",
        "--crew",
    }
    assert flags <= OWN_FLAGS


def wrong_values() -> Iterator[tuple[str, str, str]]:
    """A flag, a value that it cannot have, and how the message begins."""
    for field in batch_flags().values():
        if field.flag.kind in NUMBERS:
            for value in ("word", "nan", "-1", "1,5", "٣x"):
                yield field.option, value, f"{field.option}: needs to be {NUMBERS[field.flag.kind]}, not {value!r}"
        if field.flag.kind is Kind.CHOICE:
            yield field.option, "word", f"{field.option}: needs to be '"
        if field.flag.kind in (Kind.ROWS_OR_PERCENT, Kind.DURATION, Kind.DOLLARS, Kind.PER_MODEL, Kind.PRICES):
            for value in ("word", "nan", "-1"):
                yield field.option, value, f"{field.option} '"


def test_no_flag_of_a_batch_takes_a_wrong_value(tmp_path: Path) -> None:
    """Numbers, choices, amounts: each names the flag and what it needs, from the command line and the environment."""
    write_crew(tmp_path)
    write_rows(tmp_path / "in.jsonl", [{"topic": "x"}])
    for flag, value, message in wrong_values():
        extra = ["--canary", "5"] if flag == "--max-forecast" else []
        assert said(tmp_path, "batch", "in.jsonl", flag, value, *extra).startswith(message)
    for field in batch_flags().values():
        if field.flag.kind in (*NUMBERS, Kind.CHOICE, Kind.SWITCH):
            message = said(tmp_path, "batch", "in.jsonl", env={field.variable: "word"})
            assert re.fullmatch(rf"{field.variable}: needs to be .+, not 'word'", message)
        if field.flag.kind in (Kind.ROWS_OR_PERCENT, Kind.DURATION, Kind.DOLLARS, Kind.PER_MODEL, Kind.PRICES):
            env = {field.variable: "word", "CREWRUN_CANARY": "5"}
            assert said(tmp_path, "batch", "in.jsonl", env=env).startswith(f"{field.variable} 'word': ")


def test_no_flag_of_a_batch_is_empty(tmp_path: Path) -> None:
    """As `-o "$UNSET"` would be: no guess at what was meant."""
    write_crew(tmp_path)
    for field in batch_flags().values():
        if field.flag.kind not in (Kind.SWITCH, Kind.NAMES, Kind.PER_MODEL, Kind.PRICES, Kind.INPUTS):
            message = said(tmp_path, "batch", "in.jsonl", field.option, "")
            assert message.startswith((f"{field.option} is empty; ", f"{field.option}: needs to be "))
    assert said(tmp_path, "batch", "") == "INPUTS is empty; name one, or leave it out"


def test_every_flag_needs_its_value(tmp_path: Path) -> None:
    """Of every command, at the end of the line and before another flag."""
    for functions in command_line._COMMANDS.values():
        for name, function in functions.items():
            for parameter in inspect.signature(function).parameters.values():
                (option,) = getattr(parameter.annotation, "__metadata__", (parameter.default,))
                flags = [word for word in getattr(option, "param_decls", ()) or () if word.startswith("--")]
                if flags and "/" not in flags[0] and "bool" not in str(parameter.annotation):
                    assert said(tmp_path, name, "x", flags[0]).startswith(
                        (f"{flags[0]}: needs a value, ", "DIR", "mock")
                    )
