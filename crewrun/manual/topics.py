"""Which page somebody means who asks for a topic: its name, another word for it, the beginning of one, or a typo."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from crewrun.errors import Category, UsageError, nearest
from crewrun.manual import TOPICS, page

# The words that people try first and that are no page's name.
_OTHER_WORDS = {
    "recipes": "examples example quickstart tutorial start cron pipe webhook crewai",
    "models": "model llm openai anthropic ollama vllm litellm keys api-key base-url fallbacks fallback",
    "offline": "testing dry",
    "mock-server": "ledger batch-jobs faults fault clock",
    "crews": "crew crew.yaml yaml agents tasks schema guardrail guardrails structured-output processes",
    "tools": "tool",
    "mcp": "servers server stdio sse adapter",
    "knowledge": "rag skills skill memory embedder",
    "files": "file images image pdf audio attachments",
    "python-files": "scripts script main.py functions",
    "tables": "table csv tsv excel xlsx parquet arrow jsonl json gzip delimiter encoding sheet columns fields map "
    "input inputs output outputs formats format",
    "rows": "row results result placeholder placeholders secrets redaction ids",
    "resuming": "resume restart continue repeat journal fresh replay state identity lock",
    "reports": "page html browser viewer dashboard",
    "inspecting": "watching progress summary log notify display comparing diff regression",
    "scores": "score expect expectations evaluation evaluate eval judge assert test tests quality",
    "telemetry": "opentelemetry otel otlp traces tracing trace spans metrics prometheus grafana collector",
    "overnight": "plan limits limit rpm tpm retries deadline outage outages cache time",
    "money": "budget cost costs price prices canary forecast spend tokens usage",
    "machines": "shards shard ray kubernetes cluster workers executor",
    "flags": "options flag environment variables env config crewrun.toml toml defaults",
    "flows": "flow",
    "python": "api library kickoff hooks hook fastapi web-service notebook",
    "troubleshooting": "errors error failures failure failed exit-codes exit-code exit codes categories signals slow",
    "performance": "speed benchmark benchmarks memory-use",
}
# Looser than `errors.nearest` by default: a wrong page costs nothing, and the text is searched where none is near.
_NEAR = 0.75


@dataclass(frozen=True)
class Section:
    """A section of a page, by its heading; an empty heading means the text before the first one."""

    topic: str
    heading: str
    text: str


def find(word: str, commands: Collection[str]) -> str | None:
    """The page or command that `word` or its beginning names, None if it names none.

    Pages come before commands, and both before other words for pages. Raises UsageError for a beginning that several
    have in common.
    """
    word = _normalise(word)
    names = {name: name for name in (*TOPICS, *commands)}
    targets = _other_words() | names
    if word in targets:
        return targets[word]
    for candidates in (names, targets):
        named = sorted({candidates[name] for name in candidates if name.startswith(word)})
        if len(named) > 1:
            raise UsageError(f"{word!r} may be {', '.join(named[:-1])} or {named[-1]}")
        if named:
            return named[0]
    return None


def guess(word: str, commands: Collection[str]) -> tuple[str, str] | None:
    """What `word` may be a typo of, and the page or command that this names; None if nothing is near."""
    targets = _other_words() | {name: name for name in (*TOPICS, *commands)}
    correct = nearest(_normalise(word), list(targets), at_least=_NEAR)
    return (correct, targets[correct]) if correct else None


def mentions(text: str) -> list[Section]:
    """The sections that have `text` or its plural in them, whatever its case, in the order of the pages."""
    words = r"\s+".join(map(re.escape, text.split()))
    pattern = re.compile(rf"(?<![\w-]){words}s?(?![\w-])", re.IGNORECASE)
    return [section for topic in TOPICS for section in _sections(topic) if pattern.search(section.text)]


def _normalise(word: str) -> str:
    """`Exit codes`, `exit_codes` and `rows.md` as the names are written: `exit-codes`, `rows`."""
    return re.sub(r"[\s_]+", "-", word.strip().lower()).removesuffix(".md")


def _other_words() -> dict[str, str]:
    """Each other word with its page. Exit codes and categories of failures are words for the page that has them."""
    of_failures = [
        *(category.replace("_", "-") for category in Category),
        *map(str, (*range(7), 75, 129, 130, 141, 143)),
    ]
    return dict.fromkeys(of_failures, "troubleshooting") | {
        word: topic for topic, words in _OTHER_WORDS.items() for word in words.split()
    }


def _sections(topic: str) -> Iterator[Section]:
    heading, lines, in_code = "", list[str](), False
    for line in page(topic).text.splitlines()[1:]:
        if line.startswith("```"):
            in_code = not in_code
        if line.startswith("#") and not in_code:
            yield Section(topic, heading, "\n".join(lines))
            heading, lines = line.lstrip("# "), []
        lines.append(line)
    yield Section(topic, heading, "\n".join(lines))
