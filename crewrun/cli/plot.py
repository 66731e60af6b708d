"""`crewrun plot`: draws a flow or a crew as an HTML page."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from crewrun.definitions.definition import Definition


def plot(
    ref: str | None = typer.Argument(
        None,
        metavar="[REF]",
        envvar="CREWRUN_CREW",
        help="A flow or a crew, as --crew takes it. [default: crew.yaml or another crew here]",
    ),
    output: str | None = typer.Option(
        None, "--output", "-o", metavar="FILE", help="The page; - is stdout. [default: the name of REF, .html]"
    ),
) -> None:
    """Draw a flow's methods, or a crew's tasks with their contexts and agents, on an HTML page.

    The page is one file that loads nothing; a page that is there is written over, and nothing else. Exit codes: 0 it
    was written; 2 REF is no flow and no crew of crewrun's own, or the page cannot be written.
    """
    from crewrun.batch.descriptors import descriptor_of
    from crewrun.cli.setup import load_crew, load_env, open_stdout, put_data
    from crewrun.diagram import page, write
    from crewrun.errors import UsageError
    from crewrun.terminal import say

    load_env()
    stdout = open_stdout()
    definition = load_crew(ref, "-")
    name = _name_of(ref, definition)
    diagram = definition.target.diagram(name)
    if diagram is None:
        raise UsageError(f"{name} is neither a flow nor a crew of crewrun's own, so it cannot be drawn")
    if output is not None and (output == "-" or descriptor_of(output) == 1):
        put_data(stdout, page(diagram).rstrip("\n"))
    else:
        say(f"wrote {write(diagram, output or f'{name}.html')}")


def _name_of(ref: str | None, definition: "Definition") -> str:
    """The page's name: `Article` for `flow.py:Article`, otherwise the name of the file or folder."""
    attribute = (ref or "").rpartition(":")[2] if definition.kind in ("flow", "Python") else ""
    return attribute.strip() or definition.path.resolve().stem
