"""The picture of a crew as `plot` draws it, with what each task came to on its box."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crewrun.batch.rebuilt_prompts import RunCrew
from crewrun.diagram import draw
from crewrun.errors import CrewrunError
from crewrun.wording import count, duration, money


def drawing_of(crew: RunCrew, name: str, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The diagram of a crew or a flow with the figures of its `tasks`, as the head of the page has it.

    None where there is nothing to draw or the crew could not be loaded.
    """
    try:
        diagram = crew.definition.target.diagram(Path(name).stem) if crew.definition is not None else None
    except CrewrunError:
        return None
    if diagram is None:
        return None
    lines = {node.title: _lines(_of_node(node.title, tasks)) for node in diagram.nodes}
    picture = draw(diagram.with_lines(lines))
    table = {"heads": diagram.table.heads, "rows": diagram.table.rows}
    return {"svg": picture.svg, "caption": diagram.caption, "legend": picture.legend, "table": table}


def _of_node(title: str, tasks: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tasks that a box stands for: one, or all of the crews that a flow's method started."""
    return [task for task in tasks if task["name"] == title or task["name"].startswith(f"{title}/")]


def _lines(tasks: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The figures of a box, two lines at most; none where it was not called."""
    if not tasks:
        return ()
    costs = [task["cost"] for task in tasks]
    cost = None if None in costs else sum(costs) / 1e6
    spent = f"{count(sum(task['calls'] for task in tasks), 'call')} · {'$0' if cost == 0 else money(cost)}"
    times = [task["duration_ms"] for task in tasks if task["duration_ms"] is not None]
    took = [f"{duration(sum(times) / 1000)} in all"] if times else []
    failures = sum(task["failures"] for task in tasks)
    more = [*took, *([f"{failures:,} failed"] if failures else [])]
    return (spent, " · ".join(more)) if more else (spent,)
