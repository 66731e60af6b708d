"""What agents know: sources of CrewAI's kinds in prompts, whole or the passages nearest to the task."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import write_rows
from support.forks import crewrun
from support.local_workers import NEAR
from support.workspace import Place

from crewrun import Agent, DefinitionError
from crewrun.definitions import load
from crewrun.executors.remote.packaging import package_crew
from crewrun.extras import install_command
from crewrun.knowledge import KnowledgeConfig
from crewrun.knowledge.chunks import joined, split
from crewrun.knowledge.knowledge_base import KnowledgeBase, tokens_in
from crewrun.knowledge.ranking import Ranking
from crewrun.knowledge.source.base_knowledge_source import BaseKnowledgeSource
from crewrun.knowledge.source.string_knowledge_source import StringKnowledgeSource

RETURNS = "Goods may be returned within 47 days."
# Of the three subjects one is in each row's topic.
SUBJECTS = ("giraffes", "volcanoes", "submarines")


def sources_in(place: Place, agent: str = "", crew: str = "") -> None:
    """Give the crew, and its agent, those lines of YAML."""
    text = place.crew(more=crew)
    text = text.replace("    backstory: You have written for years.\n", f"    backstory: You have written.\n{agent}")
    (place.folder / "crew.yaml").write_text(text)


def prompts(place: Place, *args: str, code: int = 0) -> list[list[dict[str, Any]]]:
    """The messages of each request that the command makes, in input order."""
    seen = place.sent()
    place.crewrun(*(args or ("batch", "in.jsonl")), code=code)
    requests = place.mock.ledger(last=place.sent() - seen)["requests"]
    return sorted((request["messages"] for request in requests), key=lambda messages: str(messages[-1]["content"]))


def put(place: Place, **files: str | bytes) -> None:
    """Write files below `knowledge/`; `_` in a name is the dot before its ending."""
    for name, content in files.items():
        path = place.folder / "knowledge" / ".".join(name.rsplit("_", 1))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def long_text(words: int = 400) -> str:
    """A text about each subject in paragraphs of its own, most of it words that tell nothing."""
    filler = " ".join(["write", "about", "the"] * (words // 3))
    return "\n\n".join(f"All on {subject}: {filler}" for subject in SUBJECTS)


# In the prompt.


def test_small_knowledge_is_the_beginning_of_every_prompt(place: Place) -> None:
    """The same for all rows, so that providers cache it; the agent's sources come before the crew's."""
    put(place, policy_md=RETURNS, prices_csv="item,price\nlamp,13\n", shop_json='{"town": "Lima", "open": [9, 18]}')
    sources_in(place, "    knowledge_sources: [policy.md, {source_type: csv, file_paths: prices.csv}]\n")
    with (place.folder / "crew.yaml").open("a") as file:
        file.write("knowledge_sources: [shop.json, {source_type: string, content: 'We are kind.'}]\n")
    place.rows({"topic": "ants"}, {"topic": "bees"})
    ants, bees = prompts(place)
    assert ants[0] == bees[0]
    assert ants[0]["content"].partition("</knowledge>")[0] == (
        "What you know, to be used where it helps:\n<knowledge>\n"
        f"[policy.md]\n{RETURNS}\n\n[prices.csv: item, price]\nlamp, 13\n\n"
        "[shop.json]\ntown: Lima\nopen:\n  - 9\n  - 18\n\nWe are kind.\n"
    )


def test_of_large_knowledge_each_row_gets_the_passages_nearest_to_it(place: Place) -> None:
    """By the words of the task with the row's inputs filled in, and not in the part that is the same for all rows."""
    put(place, facts_txt=long_text())
    source = "{source_type: text_file, file_paths: [facts.txt], chunk_size: 1700, chunk_overlap: 0}"
    sources_in(
        place, f"    knowledge_sources: [{source}]\n    knowledge_config: {{max_tokens: 600, results_limit: 1}}\n"
    )
    place.rows(*({"topic": subject.upper()} for subject in SUBJECTS))
    asked = prompts(place)
    assert ["knowledge" in messages[0]["content"] for messages in asked] == [False, False, False]
    found = [[subject for subject in SUBJECTS if f"on {subject}:" in messages[1]["content"]] for messages in asked]
    assert found == [[subject] for subject in sorted(SUBJECTS)]


def test_a_task_without_a_word_of_the_knowledge_gets_none_of_it(place: Place) -> None:
    """Passages that have nothing to do with it would only mislead."""
    put(place, facts_txt=long_text())
    sources_in(place, "    knowledge_sources: [facts.txt]\n    knowledge_config: {max_tokens: 50}\n")
    place.rows({"topic": "xylophones"})
    ((_, user),) = prompts(place)
    assert "<knowledge>" not in user["content"]


def test_coworkers_and_managers_have_their_crews_knowledge(tmp_path: Path) -> None:
    """Whoever does the work, the crew's sources are his too."""
    crew = {
        "agents": {"writer": {"role": "Writer", "goal": "g", "backstory": "b"}},
        "tasks": {"draft": {"description": "Write", "expected_output": "x"}},
        "process": "hierarchical",
        "manager_llm": "offline",
        "llm": "offline",
        "knowledge_sources": [{"source_type": "string", "content": RETURNS}],
    }
    (tmp_path / "crew.yaml").write_text(json.dumps(crew))
    done = crewrun("check", "--json", cwd=tmp_path)
    about = json.loads(done.stdout)
    assert [agent["knowledge"]["sources"] for agent in about["crew"]["agents"]] == [1, 1]
    assert RETURNS in about["first_row"][0]["messages"][0]["content"]


def test_an_agent_alone_knows_its_sources_too() -> None:
    """Without a crew."""
    agent = Agent(
        role="r", goal="g", backstory="b", llm="offline", knowledge_sources=[StringKnowledgeSource(content=RETURNS)]
    )
    output = agent.kickoff("How long?")
    assert RETURNS in output.messages[0]["content"]


# What check and plan say, and what a run is known by.


def test_check_says_how_much_there_is_and_how_it_is_used(place: Place) -> None:
    """Before anything is paid for."""
    put(place, facts_txt=long_text())
    sources_in(place, "    knowledge_sources: [facts.txt]\n    knowledge_config: {max_tokens: 600}\n")
    place.crewrun("check", "-m", "offline")
    tokens = tokens_in(f"[facts.txt]\n{long_text()}")
    assert (
        f"  knowledge: 1 source, about {tokens:,} tokens: the nearest 5 of 2 passages in the prompt, chosen by their "
        "words, at most 600 tokens\n"
    ) in place.stdout
    sources_in(place, "    knowledge_sources: [facts.txt]\n")
    place.crewrun("check", "-m", "offline")
    assert f"about {tokens:,} tokens: whole in the prompt (bound: 8,000 tokens)\n" in place.stdout


def test_a_changed_file_makes_another_crew_and_an_equal_one_the_same(place: Place) -> None:
    """Rows that are done under other knowledge are not taken for done."""
    put(place, policy_md=RETURNS)
    sources_in(place, "    knowledge_sources: [policy.md]\n")
    place.rows({"topic": "ants"})
    assert len(prompts(place)) == 1
    put(place, policy_md=RETURNS)
    assert prompts(place) == []
    put(place, policy_md=RETURNS.replace("47", "48"))
    place.crewrun("batch", "in.jsonl", code=0)
    ((system, _),) = [place.mock.ledger(last=1)["requests"][0]["messages"]]
    assert "48 days" in system["content"]


def test_the_forecast_counts_what_is_known(place: Place) -> None:
    """Prompts of a plan are those of the run."""
    place.rows({"topic": "ants"})
    tokens = []
    for text in ("short", "long " * 4_000):
        put(place, policy_md=text)
        sources_in(place, "    knowledge_sources: [policy.md]\n")
        place.crewrun("plan", "in.jsonl", "--json")
        tokens.append(json.loads(place.stdout)["prompt_tokens"]["mean"])
    assert tokens[1] - tokens[0] > 4_500


# Python.


PROJECT = """\
from crewai import Agent, Crew, Process, Task
from crewai.knowledge.knowledge_config import KnowledgeConfig
from crewai.knowledge.source.base_knowledge_source import BaseKnowledgeSource
from crewai.knowledge.source.crew_docling_source import CrewDoclingSource
from crewai.knowledge.source.csv_knowledge_source import CSVKnowledgeSource
from crewai.knowledge.source.json_knowledge_source import JSONKnowledgeSource
from crewai.knowledge.source.string_knowledge_source import StringKnowledgeSource
from crewai.knowledge.source.text_file_knowledge_source import TextFileKnowledgeSource
from pydantic import Field

class News(BaseKnowledgeSource):
    limit: int = Field(default=2)

    def load_content(self):
        return {i: f"news {i}" for i in range(self.limit)}

    def validate_content(self):
        pass

    def add(self):
        for text in self.load_content().values():
            self.chunks.extend(self._chunk_text(text))
        self._save_documents()

class Shouted(TextFileKnowledgeSource):
    def load_content(self):
        return {path: text.upper() for path, text in super().load_content().items()}

agent = Agent(role="r", goal="g", backstory="b", llm="offline", knowledge_sources=[Shouted(file_paths=["policy.md"])])
task = Task(description="Write about {topic}", expected_output="e", agent=agent)
crew = Crew(agents=[agent], tasks=[task], knowledge_sources=[
    News(), CSVKnowledgeSource(file_paths="prices.csv"), CrewDoclingSource(file_paths=["policy.md"]),
], memory=True, embedder={"provider": "openai"}, verbose=True)
"""


def test_a_python_crews_sources_are_found_from_its_own_folder(place: Place) -> None:
    """Also where the command runs elsewhere; sources of one's own are asked once."""
    put(place, policy_md=RETURNS, prices_csv="item,price\nlamp,13\n")
    (place.folder / "demo.py").write_text(PROJECT)
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir()
    write_rows(elsewhere / "in.jsonl", [{"topic": "ants"}])
    done = crewrun("check", "in.jsonl", "--crew", "../demo.py:crew", "--json", cwd=elsewhere)
    found = json.loads(done.stdout)
    assert found["first_row"][0]["messages"][0]["content"].partition("</knowledge>")[0] == (
        "What you know, to be used where it helps:\n<knowledge>\n"
        f"[policy.md]\n{RETURNS.upper()}\n\nnews 0\nnews 1\n\n[prices.csv: item, price]\nlamp, 13\n\n"
        f"[policy.md]\n{RETURNS}\n"
    )
    assert found["warnings"] == [
        "crew: memory has no effect: crewrun has no memory, so that no row knows of another one"
    ]


def test_memory_is_said_to_be_off_once_in_a_run(place: Place) -> None:
    """And not for each row."""
    put(place, policy_md=RETURNS, prices_csv="item,price\nlamp,13\n")
    (place.folder / "demo.py").write_text(PROJECT)
    place.rows(*({"topic": str(i)} for i in range(3)))
    place.crewrun("batch", "in.jsonl", "--crew", "demo.py:crew")
    assert place.stderr.count("has no memory") == 1


# Embedders.


EMBEDDED = """\
    knowledge_sources: [{{source_type: text_file, file_paths: [facts.txt], chunk_size: 1700, chunk_overlap: 0}}]
    knowledge_config: {{max_tokens: 600, results_limit: 1}}
    embedder: {{provider: {}, config: {{model_name: text-embedding-3-small}}}}
"""


def embedded(place: Place, provider: str = "openai") -> None:
    """A crew whose passages an embedder chooses, and a row for each of them."""
    put(place, facts_txt=long_text())
    sources_in(place, EMBEDDED.format(provider))
    place.rows(*({"topic": subject} for subject in SUBJECTS))


def asked(place: Place) -> list[tuple[str, list[str]]]:
    """The model of each request of the mock's ledger, and the subjects of the passages in it."""
    return [
        (request["model"], [subject for subject in SUBJECTS if f"on {subject}:" in str(request["messages"])])
        for request in place.mock.ledger()["requests"]
    ]


def test_an_embedder_chooses_the_passages_by_calls_that_are_journaled_and_priced(place: Place) -> None:
    """The passages' vectors are asked for once, each row's own once, and none again when the run goes on."""
    embedded(place)
    place.crewrun("batch", "in.jsonl", "--budget", "1", "--summary", "s.json")
    seen = asked(place)
    assert sorted(seen) == [("gpt-4.1-mini", [subject]) for subject in sorted(SUBJECTS)] + [
        ("text-embedding-3-small", [])
    ] * (1 + len(SUBJECTS))
    ledger = place.mock.ledger(last=0)["totals"]
    usage = place.summary()["usage"]
    assert (usage["calls"], usage["prompt_tokens"]) == (ledger["requests"], ledger["prompt_tokens"])
    assert usage["completion_tokens"] == ledger["completion_tokens"]
    place.results.unlink()
    place.crewrun("batch", "in.jsonl", "--replay")
    assert place.sent() == ledger["requests"]


FLOW = """\
from crewai import Agent, Crew, Task
from crewai.flow.flow import Flow, start
from crewai.knowledge.source.text_file_knowledge_source import TextFileKnowledgeSource

class Writing(Flow):
    @start()
    async def write(self):
        source = TextFileKnowledgeSource(file_paths=["facts.txt"], chunk_size=1700, chunk_overlap=0)
        agent = Agent(role="r", goal="g", backstory="b", llm="gpt-4.1-mini", knowledge_sources=[source],
            knowledge_config={"max_tokens": 600, "results_limit": 1}, embedder={"provider": "openai"})
        task = Task(description=f"Write about {self.state['topic']}", expected_output="e", agent=agent)
        return await Crew(agents=[agent], tasks=[task]).akickoff()
"""


def test_crews_that_a_flow_makes_for_each_row_share_the_vectors_of_their_passages(place: Place) -> None:
    """Else each row would pay for all of the knowledge."""
    embedded(place)
    (place.folder / "demo.py").write_text(FLOW)
    place.crewrun("batch", "in.jsonl", "--crew", "demo.py:Writing")
    seen = asked(place)
    assert [model for model, _ in seen].count("text-embedding-3-small") == 1 + len(SUBJECTS)
    assert sorted(told for _, told in seen if told) == [[subject] for subject in sorted(SUBJECTS)]


def test_an_embedder_of_another_language_is_said_and_words_choose(place: Place) -> None:
    """Once, and the answers are no worse for it."""
    embedded(place, "cohere")
    place.crewrun("batch", "in.jsonl")
    assert sorted(asked(place)) == [("gpt-4.1-mini", [subject]) for subject in sorted(SUBJECTS)]
    told = "embedder: crewrun does not speak the language of 'cohere'; passages of knowledge are chosen by their words"
    assert place.stderr.count(told) == 1


def test_an_embedder_is_not_asked_offline_and_needs_its_key_else(place: Place) -> None:
    """The key is missed before the first call."""
    embedded(place)
    place.crewrun("batch", "in.jsonl", "-m", "offline")
    assert asked(place) == []
    (place.folder / "crew.yaml").write_text(
        (place.folder / "crew.yaml").read_text().replace("llm: gpt-4.1-mini", "llm: ollama/llama3")
    )
    place.crewrun("batch", "in.jsonl", "--fresh", code=2, OPENAI_API_KEY="", OPENAI_BASE_URL="")
    assert "OPENAI_API_KEY is not set: agent 'embedder' uses openai/text-embedding-3-small" in place.stderr


# Bad input.


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.md", None, "no file 'a.md'; looked for knowledge/a.md, a.md\n"),
        ("a.md", b"", "knowledge/a.md: is empty; fill it or leave it out"),
        ("a.md", b"a\0b", "knowledge/a.md: is a binary file; save what it says as text"),
        ("a.md", b"a\nb\xff", "knowledge/a.md:2: is not UTF-8 (byte 0xff); save it as UTF-8"),
        ("a.json", b'{"a": 1,\n "b"}', "knowledge/a.json:2: column 5: is not valid JSON: Expecting ':' delimiter"),
        ("a.json", b"[" * 100_000, "knowledge/a.json: is nested too deep, or has a number that is too long"),
        ("a.csv", b"x" * 200_000, "knowledge/a.csv:1: is not valid CSV: field larger than field limit (131072)"),
        ("a.pdf", b"%PDF-1.4 nothing", "knowledge/a.pdf: is not a PDF that can be read: "),
        ("a.xlsx", b"PK", "knowledge/a.xlsx: crewrun reads no .xlsx; save it as one of .txt, .md, "),
        ("../../out.md", None, "/out.md' leads out of "),
    ],
    ids=["missing", "empty", "binary", "not utf-8", "json", "deep", "csv", "pdf", "excel", "outside"],
)
def test_a_file_that_cannot_be_read_is_a_fault_of_the_definition(
    place: Place, name: str, content: bytes | None, told: str
) -> None:
    """With its line in crew.yaml, what is wrong and what to do, before any call."""
    (place.folder / "knowledge").mkdir()
    if content is not None:
        (place.folder / "knowledge" / name).write_bytes(content)
    (place.folder.parent / "out.md").write_bytes(b"out")
    sources_in(place, f"    knowledge_sources: [{name}]\n")
    place.rows({"topic": "ants"})
    assert prompts(place, code=2) == []
    where, _, message = place.stderr.removeprefix("crewrun: ").partition(": agents.writer.knowledge_sources[0]: ")
    assert (where, told in message) == ("crew.yaml:6", True), place.stderr


def test_a_file_that_is_too_large_is_refused(place: Place) -> None:
    """It is not read to its end first."""
    (place.folder / "knowledge").mkdir()
    with (place.folder / "knowledge" / "a.txt").open("wb") as file:
        file.truncate(40 * 1024**2)
    sources_in(place, "    knowledge_sources: [a.txt]\n")
    place.crewrun("check", code=2)
    assert "knowledge/a.txt: is larger than 32 MiB; take a part of it, or give the agent a tool" in place.stdout


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{source_type: sting, content: x}", "no source_type 'sting' (did you mean 'string'?); there are string, "),
        ("{source_type: string, contents: x}", "a source of type string has no 'contents' (did you mean 'content'?)"),
        ("{source_type: string}", "knowledge_sources[0]: content: Field required"),
        ("{source_type: string, content: x, chunk_size: 0}", "knowledge_sources[0]: chunk_size: Input should be"),
        ("../knowledge", "knowledge_sources[0]: knowledge: is a folder; name the files in it"),
        ("{source_type: excel, file_paths: policy.md}", "reads no Excel files; save each sheet as CSV"),
        ("{source_type: docling, file_paths: 'https://x.y'}", "fetches no pages for knowledge (https://x.y)"),
        ("7", "needs the path of a file, a reference module:attr, or a mapping with source_type"),
        ("demo.py:Broken", 'demo.py", line 5, in add\n'),
        ("demo.py:Nothing", "Nothing has no text; its add() is to fill self.chunks"),
    ],
)
def test_a_source_that_is_none_is_told_with_the_way_out(place: Place, entry: str, told: str) -> None:
    """Wherever it is found to be wrong."""
    put(place, policy_md=RETURNS)
    (place.folder / "demo.py").write_text(
        "from crewai.knowledge.source.base_knowledge_source import BaseKnowledgeSource\n\n"
        "class Broken(BaseKnowledgeSource):\n    def add(self):\n        1 / 0\n\n"
        "class Nothing(BaseKnowledgeSource):\n    def add(self):\n        pass\n"
    )
    sources_in(place, f"    knowledge_sources: [{entry}]\n")
    place.crewrun("check", code=2)
    assert told in place.stdout


def test_a_config_that_is_out_of_bounds_has_its_line(place: Place) -> None:
    """As every fault of the file."""
    sources_in(place, "    knowledge_config: {score_threshold: 2}\n")
    place.crewrun("check", code=2)
    assert "crew.yaml:6: agents.writer.knowledge_config: score_threshold: Input should be less than" in place.stdout


def test_text_is_not_taken_out_of_a_pdf_without_pypdf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is an extra."""
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")
    with pytest.raises(DefinitionError, match=re.escape(f"reading PDF needs pypdf: {install_command('pdf')}")):
        Agent(role="r", goal="g", backstory="b", knowledge_sources=[str(tmp_path / "a.pdf")])


# The ranking, for any text.


TEXTS = st.text(st.sampled_from("ab cd\n.é日本"), max_size=400)


@given(TEXTS, st.integers(1, 50), st.integers(0, 60))
def test_passages_have_all_of_the_text_and_are_never_too_long(text: str, size: int, overlap: int) -> None:
    """Each begins with the end of the one before."""
    passages = split(text, size, overlap)
    assert all(0 < len(passage) <= size for passage in passages) or passages == [""]
    assert all(passage in text for passage in passages)
    whole = joined(split(text, size, 0), 0).replace("\n", "")
    assert whole.rstrip() == text.replace("\n", "").rstrip() or text.isspace()


@given(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=8), TEXTS, st.integers(1, 60), st.integers(1, 6))
def test_what_is_chosen_never_exceeds_its_bound_and_is_always_the_same(
    texts: list[str], query: str, bound: int, limit: int
) -> None:
    """On any machine, in any process: resumed rows see the same text."""
    config = KnowledgeConfig(max_tokens=bound, results_limit=limit)
    sources: list[BaseKnowledgeSource] = [StringKnowledgeSource(content=text, chunk_size=40) for text in texts]
    base = KnowledgeBase.of(sources, config)
    chosen = base.passages_for(query)
    assert tokens_in(base.whole) <= bound
    assert tokens_in(chosen) <= bound
    if base.passages:
        positions = Ranking(base.passages).nearest(query, limit)
        assert base.within_bound(positions) == chosen == base.passages_for(query)
        assert len(positions) == len(set(positions)) <= limit


def test_equal_passages_come_in_their_order() -> None:
    """A tie is no dice."""
    ranking = Ranking(["red fox", "grey cat", "red fox", "black dog", "red fox", "a", "b", "c"])
    assert ranking.nearest("the red fox", 2) == [0, 2]
    assert ranking.nearest("RED Foxes", 5) == [0, 2, 4]


@pytest.mark.parametrize(
    ("query", "nearest"),
    [("東京の天気", [0]), ("refunding", [1]), ("Überraschung?", [2]), ('" OR NOT (a*', []), ("", [])],
)
def test_words_are_found_in_other_scripts_and_forms(query: str, nearest: list[int]) -> None:
    """A query is words, never the language of a search engine."""
    ranking = Ranking(["明日の東京の予報", "how refunds work", "eine überraschung", "nothing", "else"])
    assert ranking.nearest(query, 3) == nearest


def test_rows_elsewhere_know_the_same(place: Place) -> None:
    """Each worker reads the files for itself; they travel with the crew."""
    put(place, policy_md=RETURNS)
    sources_in(place, "    knowledge_sources: [policy.md]\n")
    place.rows({"topic": "ants"})
    ((system, _),) = prompts(place, "batch", "in.jsonl", "--executor", NEAR)
    assert RETURNS in system["content"]
    packed = package_crew(str(place.folder / "crew.yaml"), load(place.folder / "crew.yaml"), [])
    assert packed.folder == str(place.folder)
