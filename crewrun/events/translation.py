"""`Translation`: CrewAI's events from those of `row_events`. It runs in the thread that calls the handlers.

An event is made only if there are handlers for it. `event_fields` says which one it is.
"""

from collections.abc import Container, Iterator
from typing import Any

from crewrun.events.base_events import BaseEvent
from crewrun.events.event_fields import MAKERS, Happened, Part, id_of, time_of
from crewrun.row_events import AgentAtWork, RowEvent, TargetRun, TaskOfRow

Made = Iterator[tuple[Any, BaseEvent]]


class _Row:
    """The events of a row so far: how many there are, and the id of the last one."""

    __slots__ = ("count", "last")

    def __init__(self) -> None:
        self.count = 0
        self.last: str | None = None


class Translation:
    """CrewAI's events for the events of rows, which it is given in their order."""

    def __init__(self) -> None:
        self._parts: dict[int, Part] = {}  # by span
        self._rows: dict[int, _Row] = {}  # by their outermost span

    def start_of(self, span: int) -> str:
        """The id of the event with which a part of a row started."""
        return id_of(span, 0)

    def events_of(self, event: RowEvent, state: Any, handled: Container[type[BaseEvent]]) -> Made:
        """The events that `handled` has and that `event` is, each with its source. `state` is a flow's state then."""
        if event.phase == "started":
            self._begin(event)
        part = self._parts.get(event.span)
        try:
            if part is not None and event.phase in ("started", "completed", "failed"):
                for kind, source, fields in MAKERS[event.kind](Happened(event, part, state)):
                    if kind in handled:
                        yield source, kind(**fields, **self._common(event, part))
        finally:
            if event.phase in ("completed", "failed"):
                self._parts.pop(event.span, None)
                if event.span == event.root:
                    self._rows.pop(event.root, None)

    def _begin(self, event: RowEvent) -> None:
        part, subject = (self._parts.get(event.parent) or Part(event))._replace(event=event), event.subject
        if isinstance(subject, TaskOfRow):
            part = Part(event, _task_of_row(subject), role=subject.role)
        elif isinstance(subject, AgentAtWork):
            part = part._replace(agent=_agent_of_row(subject), role=subject.role)
        elif isinstance(subject, TargetRun):
            part = Part(event)
        self._parts[event.span] = part

    def _common(self, event: RowEvent, part: Part) -> dict[str, Any]:
        """The fields that all events have."""
        row = self._rows.setdefault(event.root, _Row())
        row.count += 1
        is_start = event.phase == "started"
        event_id, before = id_of(event.span, row.count if not is_start else 0), row.last
        row.last = event_id
        is_first = not event.parent or (event.parent == event.root and event.row is not None)
        task, agent = part.task, part.agent
        return {
            "timestamp": time_of(event.time_ns),
            "event_id": event_id,
            "parent_event_id": None if is_first else id_of(event.parent, 0),
            "started_event_id": None if is_start else id_of(event.span, 0),
            "previous_event_id": before,
            "emission_sequence": row.count,
            "row_id": None if event.row is None else event.row.id,
            "source_type": event.kind if event.kind in ("crew", "task", "agent") else None,
            "task_id": None if task is None else str(task.id),
            "task_name": None if task is None else task.name or task.description,
            "agent_id": None if agent is None else str(agent.id),
            "agent_role": part.role,
        }


def _task_of_row(subject: TaskOfRow) -> Any:
    """The task with the row's texts, and the id of the task as defined."""
    task = subject.task
    texts = {"description": subject.description, "expected_output": subject.expected_output}
    if all(getattr(task, name) == text for name, text in texts.items()):
        return task
    _ = task.id  # before the copy, which then has it
    return task.model_copy(update=texts)


def _agent_of_row(work: AgentAtWork) -> Any:
    """The agent with the row's texts, and the id of the agent as defined."""
    agent = work.agent
    texts = {"role": work.role, "goal": work.goal, "backstory": work.backstory}
    if all(getattr(agent, name) == text for name, text in texts.items()):
        return agent
    _ = agent.id
    return agent.model_copy(update=texts)
