"""`crewrun init`: makes a folder with a crew that works at once."""

from pathlib import Path

import typer

FILES = {
    "crew.yaml": """\
# A crew of two. Each line of inputs.jsonl is one row, and {topic} is filled in from it.
# `crewrun check inputs.jsonl` says what would run; `crewrun schema` prints what may stand in this file.

agents:
  researcher:
    role: Researcher
    goal: Collect what matters about {topic}
    backstory: You check facts twice and keep opinions out.
    # llm: gpt-4.1-mini          # or ollama/llama3.2, anthropic/…; without it the MODEL variable decides
    # tools: [SerperDevTool]     # or my_tools:look_up, a function of your own in my_tools.py
  writer:
    role: Writer
    goal: Explain {topic} so that everybody understands it
    backstory: You never use ten words where five do.

tasks:
  research:
    agent: researcher
    description: Collect the three most important facts about {topic}.
    expected_output: Three numbered facts, one sentence each.
  article:
    agent: writer                # sees the output of the task before
    description: Write a short article about {topic} from these facts.
    expected_output: A headline and two paragraphs.

batch:
  max_concurrent: 8              # rows at once
""",
    "inputs.jsonl": """\
{"topic": "Tidal power"}
{"topic": "Sourdough bread"}
{"topic": "The history of zero"}
""",
    "README.md": """\
# A crew for crewrun

Try it offline, without a model, a key or any cost:

    crewrun batch inputs.jsonl -m offline

Run it with a model, with its key in the environment or in `.env`:

    export OPENAI_API_KEY=…
    crewrun batch inputs.jsonl -m gpt-4.1-mini -j 20

The results are in `inputs.results.jsonl`, a JSON object per line. `crewrun check inputs.jsonl` shows what the models
would be asked, and everything that is wrong with `crew.yaml` or the rows.
""",
}


def init(
    folder: Path = typer.Argument(..., metavar="DIR", help="Where the files go; made if it is not there."),
) -> None:
    """Make a folder with a crew.yaml, inputs.jsonl and a README that work at once.

    Files that are there already are never written over: then nothing is written. Exit codes: 0 done; 2 it cannot be.
    """
    from crewrun.cli.setup import open_stdout, tell
    from crewrun.errors import UsageError

    stdout = open_stdout()
    taken = [name for name in FILES if (folder / name).exists()]
    if taken:
        raise UsageError(f"{folder}: has {', '.join(taken)} already; nothing was written, name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            with open(folder / name, "x", encoding="utf-8") as file:
                file.write(text)
    except OSError as refused:
        raise UsageError(f"{folder}: cannot be written: {refused.strerror}") from None
    tell(stdout, [f"{folder}: {', '.join(FILES)}", f"try it: crewrun batch {folder / 'inputs.jsonl'} -m offline"])
