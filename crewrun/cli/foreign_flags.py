"""Flags and commands that other tools have and crewrun does not, with what to use here.

The tools: GNU parallel and xargs, make, pytest, curl, `llm`, promptfoo, dbt, the CrewAI CLI, OpenAI's clients.
"""

from functools import cache

# Names without dashes in front, with - for _; one letter is a short flag.
_FLAGS = (
    (
        "resume continue resume-failed restart skip-existing append",
        "the same command goes on where it stopped; --fresh starts over",
    ),
    (
        "overwrite force clean full-refresh no-resume",
        "--fresh starts over, and keeps a copy of the old results",
    ),
    (
        "concurrency jobs parallel threads max-workers max-procs n-jobs num-workers batch-size procs P",
        "-j N (--max-concurrent) is how many rows run at once, or -j auto",
    ),
    (
        "api-key key token openai-api-key k",
        "keys come from the environment or .env, where no list of processes shows them: OPENAI_API_KEY, for example",
    ),
    (
        "api-base endpoint url host server openai-base-url",
        "--base-url is the address of an OpenAI-compatible server",
    ),
    (
        "output-dir out-dir outdir output-file out outfile results destination",
        "-o FILE is where results go, and --run-dir DIR the run's state",
    ),
    (
        "config config-file file f c",
        "--crew names the crew file; defaults of flags are in its `batch:`, or in crewrun.toml",
    ),
    (
        "input-file infile inputs data dataset a arg-file",
        "the table is an argument: crewrun batch INPUTS; -i NAME=VALUE is an input for all rows",
    ),
    (
        "verbose v debug log log-level trace",
        "prompts and replies are shown by `crewrun show RUN ID`; --log-prompts also writes them to the run's log.jsonl",
    ),
    (
        "silent no-progress no-progress-bar s",
        "-q says nothing, --progress none shows no progress",
    ),
    (
        "timeout time-limit max-time request-timeout",
        "--call-timeout is for an attempt of a call, --row-timeout for a row, --deadline for the run",
    ),
    (
        "max-cost cost-limit max-budget max-usd max-spend",
        "--budget USD is the most that the run may cost, --row-budget what a row may",
    ),
    (
        "max-retries retry attempts tries num-retries",
        "--retries N is how often a call is sent again; `crewrun retry RUN` runs failed rows again",
    ),
    (
        "n max-rows num head count rows max first-n samples filter-first-n",
        "--limit N runs at most N rows",
    ),
    (
        "skip start from skip-rows",
        "--offset N leaves out the first N rows",
    ),
    (
        "sample random filter-sample",
        "--canary N runs N rows first, drawn at random",
    ),
    (
        "rate-limit rps qps requests-per-minute delay",
        "--rpm N is the requests per minute, --tpm N the tokens",
    ),
    (
        "tokens-per-minute",
        "--tpm N is the tokens per minute",
    ),
    (
        "x exitfirst halt stop-on-error bail maxfail",
        "--fail-fast stops at the first failed row, --max-failures N|P% at more",
    ),
    (
        "keep-going ignore-errors continue-on-error",
        "a failed row never stops the others; --max-failures sets when it does",
    ),
    (
        "keep-order preserve-order order sort K",
        "--ordered writes results in input order",
    ),
    (
        "offline mock fake",
        "-m offline runs all rows without a model; --dry-run says what they would cost",
    ),
    (
        "dry preview no-run just-print",
        "--dry-run (or `crewrun plan INPUTS`) says what would be done and what it would cost",
    ),
    (
        "cache-dir use-cache no-cache",
        "--cache DIR answers requests that any run made before; without it there is no cache between runs",
    ),
    (
        "id key-field id-column unique-key",
        "--id-field NAME is the field that names a row",
    ),
    (
        "provider llm model-name engine-name",
        "-m MODEL is the model of every agent, with its provider in front: -m openai/gpt-4.1-mini",
    ),
    (
        "agent agents prompt template task flow",
        "agents, prompts and tasks are in the crew file, which --crew names",
    ),
    (
        "install-completion show-completion",
        "`crewrun completion bash|zsh|fish` prints the script",
    ),
    (
        "joblog stats",
        "--summary FILE is the run's summary as JSON",
    ),
    (
        "yes y non-interactive no-input",
        "no question is ever asked; leave it out",
    ),
    (
        "profile env-file",
        "variables come from the environment and from .env beside the crew",
    ),
    (
        "temperature top-p max-tokens seed reasoning-effort stop system T",
        "the crew file has it with its model: `llm: {model: …, temperature: 0.2}`",
    ),
)
_COMMANDS = (
    (
        "resume continue",
        "crewrun batch INPUTS goes on where it stopped",
    ),
    (
        "start exec go map parallel kickoff-for-each",
        "crewrun batch INPUTS runs a crew on every row",
    ),
    (
        "kickoff chat ask prompt flow invoke",
        "crewrun run runs a crew once",
    ),
    (
        "test lint validate doctor debug parse compile",
        "crewrun check finds what is wrong with a crew and its rows",
    ),
    (
        "create new scaffold",
        "crewrun init DIR makes a folder with a crew",
    ),
    (
        "estimate cost dry-run dryrun preview",
        "crewrun plan INPUTS says what a batch would cost",
    ),
    (
        "ls list history ps",
        "crewrun runs lists the runs below a folder",
    ),
    (
        "logs log inspect view cat trace",
        "crewrun show RUN ID shows a row with its calls",
    ),
    (
        "watch progress stat info tail",
        "crewrun status RUN says how far a run is",
    ),
    (
        "clean prune rm delete purge",
        "crewrun gc --delete removes run folders that are no longer needed",
    ),
    (
        "convert csv dump results",
        "crewrun export RUN -f csv writes the results as a table",
    ),
    (
        "concat join combine union",
        "crewrun merge RUN... -o FILE merges results",
    ),
    (
        "replay",
        "crewrun batch INPUTS --replay answers from the journal alone",
    ),
    (
        "serve server",
        "crewrun mock serves an OpenAI-compatible mock",
    ),
    (
        "version",
        "crewrun --version",
    ),
    (
        "man manual docs topics",
        "crewrun help lists the pages of the manual",
    ),
    (
        "install update upgrade login deploy train tool config keys models",
        "there is no such command here; crewrun --help lists those that there are",
    ),
)


@cache
def _by_name(rows: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {name: advice for names, advice in rows for name in names.split()}


def advice_for_flag(flag: str) -> str | None:
    """What to use in place of `--flag` or `-f` of another tool, None where nothing is known."""
    return _by_name(_FLAGS).get(flag.lstrip("-").replace("_", "-"))


def advice_for_command(name: str) -> str | None:
    """What to use in place of another tool's command, None where nothing is known."""
    return _by_name(_COMMANDS).get(name.lower().replace("_", "-"))


def names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All flags and all commands that have an advice."""
    return tuple(_by_name(_FLAGS)), tuple(_by_name(_COMMANDS))
