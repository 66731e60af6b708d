"""Prompts made again from a crew and what its run recorded: the journal keeps none.

What a call was asked is put together as the crew does it, from the row's inputs, earlier tasks' outputs, recorded
replies and tools' results, and counts only if its identity is the recorded one: then it is, word for word, what was
sent. No guardrail, callback or tool is called for it, so what came out of those cannot be made again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from crewrun.crew.crew import Crew
from crewrun.crew.output import TaskOutput
from crewrun.crew.process import context_of
from crewrun.crew.prompts import FINAL_ANSWER_NOW, Prompt
from crewrun.crew.task import Task
from crewrun.crew.task_run import Assignment, opening
from crewrun.crew.text_protocol import Action, explain_tools, observation, read_reply
from crewrun.fingerprint import fingerprint
from crewrun.llm.gateway import Gateway
from crewrun.llm.recorder import Identities, tool_identity
from crewrun.messages import ChatRequest, Completion, Message
from crewrun.runs.journal import FAILURE, TOOL, CallEntry
from crewrun.runs.recording import read_answer, read_text
from crewrun.tools.toolbox import wire_name

Name = Callable[[int | str], str]


def rebuild(
    crew: Crew,
    inputs: Mapping[str, Any],
    outputs: Iterable[tuple[str, str]],
    calls: Sequence[CallEntry],
    gateway: Gateway,
    name: Name,
) -> dict[int, tuple[Message, ...]]:
    """The prompts that could be made again and proven, by the numbers of their calls.

    `outputs` are the row's finished tasks, by their names. Raises InputInvalid when the inputs do not fit the crew,
    UsageError when a model cannot be resolved.
    """
    said: dict[str, deque[str]] = {}
    for task_name, output in outputs:
        said.setdefault(task_name, deque()).append(output)
    results = _Results(calls, name)
    finished: dict[Task, TaskOutput] = {}
    before: dict[Task, TaskOutput] = {}  # what the async tasks of one stretch see
    proven: dict[int, tuple[Message, ...]] = {}
    was_async = False
    for assignment in crew.assignments(inputs, gateway):
        task = assignment.task
        if not (task.async_execution and was_async):
            before = dict(finished)
        was_async = task.async_execution
        contexts = {context_of(task, seen, crew.tasks) for seen in (finished, before)}
        mine = [entry for entry in calls if entry.kind != TOOL and name(entry.task) == assignment.name]
        proven |= _Talk(assignment, contexts, gateway, results).follow(mine)
        if left := said.get(assignment.name):
            finished[task] = TaskOutput(
                raw=left.popleft(), description=assignment.texts.description, agent=assignment.texts.persona.role
            )
    return proven


class _Results:
    """What tools gave, each to be taken once."""

    def __init__(self, calls: Iterable[CallEntry], name: Name) -> None:
        self._left: dict[tuple[str, bytes], deque[str]] = {}
        for entry in calls:
            if entry.kind == TOOL:
                self._left.setdefault((name(entry.task), entry.request), deque()).append(read_text(entry))

    def take(self, assignment: Assignment, tool_name: str, arguments: str) -> str | None:
        """The result of one call, None when it was not recorded."""
        tool = assignment.toolbox.tools.get(wire_name(tool_name))
        if tool is None:
            return None
        identity = tool_identity(fingerprint(tool), wire_name(tool_name), arguments)
        left = self._left.get((assignment.name, identity))
        return left.popleft() if left else None


class _Turn(NamedTuple):
    messages: tuple[Message, ...]
    in_words: bool


class _Talk:
    """One task's conversation: `_expected` has what may be asked next, by its identity."""

    def __init__(self, assignment: Assignment, contexts: Iterable[str], gateway: Gateway, results: _Results) -> None:
        self._assignment = assignment
        self._endpoint = gateway.endpoint(assignment.agent.model)
        self._results = results
        self._identities = Identities()
        self._expected: dict[bytes, _Turn] = {}
        for context in contexts:
            prompt = opening(assignment, context)
            self._expect(_Turn(prompt.messages(), in_words=False))
            if assignment.toolbox.specs:
                self._expect(_Turn(_with_tools_in_words(prompt, assignment).messages(), in_words=True))

    def follow(self, calls: Iterable[CallEntry]) -> dict[int, tuple[Message, ...]]:
        """The prompts of these calls that are proven."""
        proven: dict[int, tuple[Message, ...]] = {}
        for entry in calls:
            turn = self._expected.get(entry.request)
            if turn is None:
                continue
            proven[entry.seq] = turn.messages
            if entry.kind != FAILURE and (more := self._reaction(turn, read_answer(entry))):
                self._expect(turn._replace(messages=(*turn.messages, *more)))
        return proven

    def _expect(self, turn: _Turn) -> None:
        for request, messages in self._requests(turn):
            self._expected.setdefault(self._identities.of(request), turn._replace(messages=messages))

    def _requests(self, turn: _Turn) -> Iterator[tuple[ChatRequest, tuple[Message, ...]]]:
        """The forms in which a turn may have been sent: with tools or a schema, without, and as the last one."""
        assignment, messages = self._assignment, turn.messages
        schema = assignment.schema.wire if assignment.schema else None
        if assignment.toolbox.specs:
            if not turn.in_words:
                yield ChatRequest(self._endpoint, messages, assignment.toolbox.specs), messages
            last = (*messages, Message("user", FINAL_ANSWER_NOW))
            yield ChatRequest(self._endpoint, last), last
        elif schema is not None:
            yield ChatRequest(self._endpoint, messages, (), schema), messages
        yield ChatRequest(self._endpoint, messages), messages

    def _reaction(self, turn: _Turn, answer: Completion) -> tuple[Message, ...]:
        """What follows an answer that asks for tools: itself and their results. Empty when one was not recorded."""
        if answer.tool_calls:
            told = [self._results.take(self._assignment, call.name, call.arguments) for call in answer.tool_calls]
            messages = [Message("assistant", answer.text, answer.tool_calls, carried=answer.carried)]
            for call, text in zip(answer.tool_calls, told, strict=True):
                if text is None:
                    return ()
                messages.append(Message("tool", text, tool_call_id=call.id))
            return tuple(messages)
        action = read_reply(answer.text) if turn.in_words else None
        if isinstance(action, Action):
            text = self._results.take(self._assignment, action.tool, action.arguments)
            if text is not None:
                return (Message("assistant", action.said), Message("user", observation(text)))
        return ()


def _with_tools_in_words(prompt: Prompt, assignment: Assignment) -> Prompt:
    """As `crewrun.crew.perform` asks a model that takes no tools."""
    explained = explain_tools(assignment.toolbox.specs)
    if prompt.system is None:
        return prompt._replace(before=f"{explained}\n\n{prompt.before}")
    return prompt._replace(system=f"{prompt.system}\n\n{explained}")
