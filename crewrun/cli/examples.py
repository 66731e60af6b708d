"""The examples in the helps, by command; "" has those of the program. A test runs each of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Example(NamedTuple):
    """What one would like to do, and the command that does it."""

    what: str
    command: str


EXAMPLES: Mapping[str, Sequence[Example]] = {
    "": (
        Example("A folder with a crew, run over its rows without a model", "crewrun init first"),
        Example("", "crewrun batch first/inputs.jsonl -m offline"),
    ),
    "batch": (
        Example(
            "Try a crew on five rows, without a model", "crewrun batch topics.jsonl -m offline --limit 5 -o try.jsonl"
        ),
        Example("A table whose column Subject fills {topic}", "crewrun batch tickets.csv --map topic=Subject"),
        Example("Run all rows, 50 at once, for at most two dollars", "crewrun batch topics.jsonl -j 50 --budget 2"),
        Example("In a pipe", "jq -c '{topic: .title}' articles.jsonl | crewrun batch - | jq -r .output"),
    ),
    "plan": (
        Example("What a batch would cost and how long it would take", "crewrun plan topics.jsonl -j 50"),
        Example("The same for a program", "crewrun plan topics.jsonl --json"),
    ),
    "retry": (
        Example("Run the failed rows again", "crewrun retry topics.results.jsonl"),
        Example("Only rows that the provider had no room for", "crewrun retry topics.results.jsonl --only rate_limit"),
    ),
    "run": (
        Example("Ask the crew in this folder once", 'crewrun run topic="Tidal power"'),
        Example("A crew by its file, without a model", "crewrun run crew.yaml topic=Tides -m offline"),
    ),
    "status": (
        Example("How far has it got?", "crewrun status topics.results.jsonl"),
        Example("Until it ends", "crewrun status topics.results.jsonl --watch"),
        Example("Do results, journal and input agree?", "crewrun status topics.results.jsonl --verify"),
    ),
    "runs": (Example("The runs of a project, the newest first", "crewrun runs ."),),
    "show": (
        Example("The rows that failed, and why", "crewrun show topics.results.jsonl --failed"),
        Example("Five answers to read, drawn at random", "crewrun show topics.results.jsonl --sample 5"),
        Example("What the row on line 2 was asked and answered", "crewrun show topics.results.jsonl 2"),
    ),
    "score": (
        Example("What a function of yours says of each output", "crewrun score topics.results.jsonl --by checks:short"),
        Example(
            "What a model says, in a file of its own",
            'crewrun score topics.results.jsonl --by "It is short." --name brief -m offline',
        ),
        Example(
            "Fail in CI if its mean is too low",
            "crewrun score topics.results.jsonl --by checks:short --fail-if 'short<95%'",
        ),
    ),
    "compare": (
        Example("What did my change do? Run it beside the old results", "crewrun batch topics.jsonl -o new.jsonl"),
        Example("", "crewrun compare topics.results.jsonl new.jsonl"),
        Example(
            "Fail in CI if rows broke", "crewrun compare topics.results.jsonl new.jsonl --fail-if 'broken>0' --sample 0"
        ),
    ),
    "report": (
        Example("A page with all rows, failures and costs", "crewrun report topics.results.jsonl -o topics.html"),
    ),
    "export": (
        Example(
            "A CSV for a spreadsheet, in the order of the input",
            "crewrun export topics.results.jsonl --ordered -o topics.csv",
        ),
        Example("Only the failed rows", "crewrun export topics.results.jsonl --status failed"),
    ),
    "merge": (Example("Merge the shards of two machines", "crewrun merge one.jsonl two.jsonl -o all.jsonl --ordered"),),
    "gc": (
        Example("The runs below this folder", "crewrun gc"),
        Example("Delete what no run needs after a week", "crewrun gc --delete --older-than 7"),
    ),
    "limits": (
        Example("What is known of my accounts' limits?", "crewrun limits"),
        Example("Find them out again, as after an upgrade", "crewrun limits --forget"),
    ),
    "init": (
        Example("A folder with a crew and rows", "crewrun init my_crew"),
        Example("A crew for a table of your own", "crewrun init --from topics.jsonl my_table"),
    ),
    "check": (
        Example("What is wrong with the crew in this folder?", "crewrun check"),
        Example("And with its rows?", "crewrun check topics.jsonl --strict"),
    ),
    "help": (
        Example("What to do for a table, a project, a failed run", "crewrun help recipes"),
        Example("Where the manual has a word or a flag", "crewrun help --budget"),
    ),
    "plot": (Example("Draw the crew as a page for the browser", "crewrun plot crew.yaml -o crew.html"),),
    "schema": (Example("Let an editor complete and check crew.yaml", "crewrun schema > crew.schema.json"),),
    "mock": (
        Example("A server that takes 0.3 s and fails one request in ten", "crewrun mock --latency 0.3 --fail 0.1:500"),
        Example(
            "A batch against it", "OPENAI_BASE_URL=http://127.0.0.1:8123/v1 crewrun batch topics.jsonl -m openai/any"
        ),
    ),
    "bench": (Example("How much does running in parallel gain here?", "crewrun bench -n 8"),),
    "completion": (
        Example("In ~/.bashrc", 'eval "$(crewrun completion bash)"'),
        Example("In ~/.zshrc", 'eval "$(crewrun completion zsh)"'),
        Example("For fish", "crewrun completion fish > ~/.config/fish/completions/crewrun.fish"),
    ),
}
