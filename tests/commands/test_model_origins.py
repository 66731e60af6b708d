"""`check` and `plan` say where each model is called, and where its name and address came from."""

import json
from typing import Any

import pytest
from support.command import topics
from support.workspace import Place


@pytest.fixture
def place(place: Place) -> Place:
    """A crew without a model of its own, and no address in the environment."""
    place.crew(llm="''")
    text = (place.folder / "crew.yaml").read_text()
    (place.folder / "crew.yaml").write_text(text.replace("llm: ''\n", ""))
    place.rows(*topics(1))
    place.env = {"OPENAI_API_KEY": "sk-test", "ANTHROPIC_API_KEY": "sk-ant-test"}
    return place


def models(place: Place, *flags: str, **env: str) -> list[dict[str, Any]]:
    """What `check --json` has, which is what `plan --json` has."""
    place.env |= env
    assert place.crewrun("check", "in.jsonl", "--json", *flags) == []
    checked: list[dict[str, Any]] = json.loads(place.stdout)["models"]
    assert place.crewrun("plan", "in.jsonl", "--json", *flags) == []
    place.env = {name: value for name, value in place.env.items() if name not in env}
    planned = [{key: one[key] for key in one if key != "price_known"} for one in json.loads(place.stdout)["models"]]
    assert planned == checked
    return checked


def origin(place: Place, *flags: str, **env: str) -> tuple[str, str, str | None, str | None]:
    """The one model: its name, where that came from, its address, and where that came from."""
    (one,) = models(place, *flags, **env)
    assert one["used_by"] == ["writer"]
    return one["name"], one["name_from"], one["address"], one["address_from"]


OWN = "https://api.openai.com/v1"


def test_names_come_from_flags_variables_and_the_default(place: Place) -> None:
    """In this order, as they count."""
    default = ("openai/gpt-4.1-mini", "crewrun's default, gpt-4.1-mini", OWN, "openai's own")
    assert origin(place) == default
    assert origin(place, OPENAI_MODEL_NAME="gpt-4.1")[:2] == ("openai/gpt-4.1", "OPENAI_MODEL_NAME in the environment")
    assert origin(place, MODEL="gpt-4.1", OPENAI_MODEL_NAME="x")[:2] == ("openai/gpt-4.1", "MODEL in the environment")
    variable = "CREWRUN_MODEL in the environment"
    assert origin(place, CREWRUN_MODEL="gpt-4.1", MODEL="x")[:2] == ("openai/gpt-4.1", variable)
    assert origin(place, "-m", "gpt-4.1", CREWRUN_MODEL="x")[:2] == ("openai/gpt-4.1", "-m")
    (place.folder / ".env").write_text("MODEL=gpt-4.1-nano\n")
    assert origin(place)[:2] == ("openai/gpt-4.1-nano", "MODEL in .env")


def test_addresses_come_from_flags_variables_and_the_provider(place: Place) -> None:
    """A flag counts before a variable, as in a batch."""
    there = "http://127.0.0.1:9/v1"
    assert origin(place, "--base-url", there)[2:] == (there, "--base-url")
    assert origin(place, CREWRUN_BASE_URL=there)[2:] == (there, "CREWRUN_BASE_URL in the environment")
    assert origin(place, OPENAI_BASE_URL=there)[2:] == (there, "OPENAI_BASE_URL in the environment")
    assert origin(place, "-m", "ollama/x")[2:] == ("http://localhost:11434/v1", "ollama's own")
    assert origin(place, "-m", "ollama/x", OLLAMA_HOST="127.0.0.1:9")[2:] == (there, "OLLAMA_HOST in the environment")
    assert origin(place, "-m", "anthropic/claude-sonnet-4-5")[2:] == (None, "anthropic's own")
    assert origin(place, "-m", "offline") == ("offline", "-m", None, None)
    (place.folder / "crew").mkdir()
    (place.folder / "crew.yaml").rename(place.folder / "crew" / "crew.yaml")
    (place.folder / "crew" / ".env").write_text(f"OPENAI_BASE_URL={there}\n")
    assert origin(place, "--crew", "crew/crew.yaml")[2:] == (there, "OPENAI_BASE_URL in crew/.env")


def test_a_crew_file_is_named_with_its_line(place: Place) -> None:
    """Of the model, of its address, and of what the address refers to."""
    path = place.folder / "crew.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "llm:", "  model: gpt-4.1", "  base_url: ${HOST}/v1", ""]))
    number = len(lines) + 2
    assert origin(place, HOST="http://127.0.0.1:9") == (
        "openai/gpt-4.1",
        f"llm in crew.yaml:{number}",
        "http://127.0.0.1:9/v1",
        f"base_url in crew.yaml:{number + 1}: ${{HOST}}/v1",
    )
    at = lines.index("    role: Writer") + 1
    path.write_text("\n".join([*lines[:at], "    llm: gpt-4.1-nano", *lines[at:], ""]))
    assert origin(place)[:2] == ("openai/gpt-4.1-nano", f"llm in crew.yaml:{at + 1}")
    path.write_text("\n".join([*lines, "batch: {model: gpt-4.1, base-url: 'http://127.0.0.1:9'}", ""]))
    assert origin(place) == ("openai/gpt-4.1", "batch: in crew.yaml", "http://127.0.0.1:9/v1", "batch: in crew.yaml")


def test_agents_are_listed_by_what_they_call(place: Place) -> None:
    """Two agents of one model, and one of another; fallbacks too."""
    (place.folder / "crew.yaml").write_text(
        "agents:\n"
        "  a: {role: R, goal: g, backstory: b}\n"
        "  b: {role: S, goal: g, backstory: b}\n"
        "  c: {role: T, goal: g, backstory: b, llm: [gpt-4.1, gpt-4.1-nano]}\n"
        "tasks:\n"
        + "".join(f"  t{a}: {{agent: {a}, description: 'Do {{topic}}', expected_output: e}}\n" for a in "abc")
        + "llm: gpt-4.1-mini\n"
    )
    assert [(one["name"], one["used_by"], one["name_from"]) for one in models(place)] == [
        ("openai/gpt-4.1-mini", ["a", "b"], "llm in crew.yaml:9"),
        ("openai/gpt-4.1", ["c"], "llm in crew.yaml:4"),
        ("openai/gpt-4.1-nano", ["c"], "fallbacks of 'c'"),
    ]


def test_it_is_printed_for_people_and_without_secrets(place: Place) -> None:
    """On a line for each model, in both commands."""
    line = "model openai/gpt-4.1 (-m) at http://[redacted]@127.0.0.1:9/v1?key=[redacted] (--base-url)"
    for command in ("check", "plan"):
        flags = ("-m", "gpt-4.1", "--base-url", "http://me:pass-word-1@127.0.0.1:9/v1?key=abcdef123456")
        place.crewrun(command, "in.jsonl", *flags)
        assert line in place.stdout.splitlines()
        assert "pass-word" not in place.stdout + place.stderr


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gpt-4.1-minni", "did you mean 'gpt-4.1-mini'?"),
        ("openai/gpt5", "did you mean 'gpt-5'?"),
        ("anthropic/claude-sonet-4-5", "did you mean 'claude-sonnet-4-5'?"),
        ("deepseek-chatt", "did you mean 'deepseek/deepseek-chat'?"),
        ("xyzzy", "and OpenAI is asked for it; a server of your own needs a base_url"),
    ],
)
def test_a_name_that_no_model_has_comes_with_its_neighbour(place: Place, name: str, hint: str) -> None:
    """Before anything is sent, by every command; a server of one's own may have any."""
    for command in ("check", "plan"):
        place.crewrun(command, "in.jsonl", "-m", name)
        assert hint in place.stdout
    place.batch("-m", name, "--replay", code=3)
    assert f"{hint}\n" in place.stderr
    place.crewrun("plan", "in.jsonl", "-m", name.rpartition("/")[2], "--base-url", "http://127.0.0.1:9/v1")
    assert "litellm's table" not in place.stdout


def test_a_missing_key_does_not_hide_a_misspelt_name(place: Place) -> None:
    """Who reads that a key is missing would look for the key."""
    place.env = {}
    place.batch("-m", "gpt-4.1-minni", code=2)
    assert "OPENAI_API_KEY is not set" in place.stderr
    assert "did you mean 'gpt-4.1-mini'?" in place.stderr


@pytest.mark.parametrize("name", ["gpt-6", "gpt-4.1-mini-2031-01-01", "o9-mini", "ft:gpt-4.1:acme"])
def test_what_may_be_a_new_model_is_not_doubted(place: Place, name: str) -> None:
    """The table is as old as the installed litellm."""
    place.crewrun("plan", "in.jsonl", "-m", name)
    assert "litellm's table" not in place.stdout
