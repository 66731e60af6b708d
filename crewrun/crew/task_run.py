"""One task of one kickoff: its texts filled in, its agent's answer, its guardrails, callbacks and output file."""

from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from crewrun.aio.concurrency import call
from crewrun.crew.agent import Agent
from crewrun.crew.agent_definition import Persona
from crewrun.crew.background import NO_BACKGROUND, Background
from crewrun.crew.fields import has_doubled_braces, template_of
from crewrun.crew.guardrails import check, no_more_tries, replaced
from crewrun.crew.kickoff import TRIGGER_PAYLOAD, Kickoff
from crewrun.crew.log_file import LogFile
from crewrun.crew.output import OutputFormat, TaskOutput, as_dict, as_text, jsonable
from crewrun.crew.output_files import check_filled, render_path, write_output
from crewrun.crew.prompts import Prompt, retry_prompt, user_prompt, with_context, with_passages
from crewrun.crew.retries import begin_counting, count_retry, end_counting
from crewrun.crew.task import Task, latest_outputs
from crewrun.crew.work import Answer
from crewrun.errors import OutputInvalid
from crewrun.files.attachment import Attachment, parts_of, tell_of
from crewrun.llm.schema import NotValid, OutputSchema, Structured
from crewrun.row import TaskRecord
from crewrun.row_context import RowContext
from crewrun.row_events import TaskOfRow, observed
from crewrun.templates import find_key
from crewrun.tools.tool_failure import records_of
from crewrun.tools.toolbox import Toolbox


class TaskTexts(NamedTuple):
    """The texts of a task and its agent with one row's inputs. `trigger` follows the description in the prompt."""

    persona: Persona
    description: str
    expected_output: str
    output_file: str | None
    trigger: str = ""


class TaskAssignment(NamedTuple):
    """A task of one kickoff, with its agent and tools. `name` is its name in rows and messages.

    `background` is the agent's knowledge and skills, `system` the text about them for the system turn. `passages` are
    those that an embedding model chose for the task; None if they are chosen by shared words.
    """

    task: Task
    name: str
    agent: Agent
    toolbox: Toolbox
    texts: TaskTexts
    schema: OutputSchema | None
    files: Sequence[Attachment] = ()
    background: Background = NO_BACKGROUND
    system: str = ""
    passages: str | None = None

    def task_of_row(self) -> Task:
        """The task with the row's inputs filled in, for hooks to look at."""
        texts = {"description": self.texts.description, "expected_output": self.texts.expected_output}
        return self.task.model_copy(update=texts)


class _Open(dict[str, str]):
    """Names of files, in place of inputs; other placeholders stay as they are."""

    def __missing__(self, name: str) -> str:
        key = find_key(name, self)
        return f"{{{name}}}" if key is None else self[key]


def fill_in(task: Task, name: str, agent: Agent, kickoff: Kickoff) -> TaskTexts:
    """The texts for one row. Raises InputInvalid for a missing input, or one that cannot be part of a file's name."""
    inputs = kickoff.inputs
    persona = agent.persona(inputs)
    if task in kickoff.files:
        names = {file.name: file.filename for file in kickoff.files[task]}
        inputs = _Open(names) if inputs is None else _with_names(inputs, names)
    description, expected_output = template_of(task, task.description), template_of(task, task.expected_output)
    path, where = task.output_file, f"tasks.{name}"
    if inputs is None:
        unfilled = None if path is None else template_of(task, path).unfilled
        return TaskTexts(persona, description.unfilled, expected_output.unfilled, unfilled)
    return TaskTexts(
        persona,
        description.render(inputs, f"{where}.description"),
        expected_output.render(inputs, f"{where}.expected_output"),
        None if path is None else render_path(path, inputs, f"{where}.output_file", doubled=has_doubled_braces(task)),
        _trigger(task, inputs, is_first=task is kickoff.first),
    )


def _with_names(inputs: Mapping[str, Any], names: dict[str, str]) -> Mapping[str, Any]:
    """`inputs`, and names of files for which there is no input, or one that is the file's content."""
    file_names = {name: filename for name, filename in names.items() if _is_content(inputs.get(name))}
    return type(inputs)({**inputs, **file_names}) if isinstance(inputs, dict) else {**inputs, **file_names}


def _is_content(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value[:5].lower() == "data:")


def _trigger(task: Task, inputs: Mapping[str, Any], *, is_first: bool) -> str:
    """The trigger's payload for the prompt, in CrewAI's words: for the first task, and for others that ask for it."""
    payload, allowed = inputs.get(TRIGGER_PAYLOAD), task.allow_crewai_trigger_context
    if payload is None or not (allowed if allowed is not None else is_first and payload):
        return ""
    return f"\n\nTrigger Payload: {payload}"


def perform_task(assignment: TaskAssignment, context: str, kickoff: Kickoff) -> Coroutine[Any, Any, TaskOutput]:
    """Perform the task and return its output.

    Adds the task to the kickoff's row context, as finished or as the one that failed. Raises what `Agent.perform` does,
    GuardrailFailed, and what a callback raises.
    """
    work = _perform(assignment, context, kickoff)
    if (emitter := kickoff.row_context.emitter) is None:
        return work
    return observed(emitter.span("task", assignment.name, _subject(assignment, context)), work)


def _subject(assignment: TaskAssignment, context: str) -> TaskOfRow:
    """The task as listeners see it."""
    task, agent, texts = assignment.task, assignment.agent, assignment.texts
    return TaskOfRow(task, agent, texts.description, texts.expected_output, texts.persona.role, context)


async def _perform(assignment: TaskAssignment, context: str, kickoff: Kickoff) -> TaskOutput:
    task, name, texts = assignment.task, assignment.name, assignment.texts
    row_context = kickoff.row_context.for_task(name, _own_texts(assignment))
    has_guardrails = task.guardrail is not None or bool(task.guardrails)
    counted = begin_counting(task) if has_guardrails else None
    try:
        if kickoff.log is not None:
            await _log(kickoff.log, assignment, kickoff.row_context, status="started")
        if texts.output_file is not None and task.output_file is not None:
            check_filled(task.output_file, texts.output_file, f"tasks.{name}.output_file")
        if assignment.background.embedded is not None:
            chosen = await assignment.background.chosen_for(texts.description, kickoff.gateway, row_context)
            assignment = assignment._replace(passages=chosen)
        prompt = opening(assignment, context)
        answer = await assignment.agent.perform(
            prompt, kickoff, row_context, assignment.toolbox, assignment.schema, assignment.task_of_row
        )
        output = _output(assignment, answer, row_context)
        if has_guardrails:
            output = await _guarded(assignment, prompt, kickoff, row_context, output)
        if task.callback or task.callbacks or kickoff.on_task:
            for callback in _callbacks(task, kickoff):
                await call(callback, output)
        if texts.output_file is not None:  # after the callbacks, as in CrewAI, since they may change the output
            await _write_file(assignment, texts.output_file, output, kickoff)
        if kickoff.log is not None:
            await _log(kickoff.log, assignment, kickoff.row_context, status="completed", output=output.raw)
    except BaseException:  # includes cancellation: the task in which the row's time ran out
        kickoff.row_context.fail_in(name)
        raise
    finally:
        if counted is not None:
            end_counting(counted)
    latest_outputs[task] = output
    kickoff.row_context.add_task(_record(assignment, output, row_context))
    return output


def _record(assignment: TaskAssignment, output: TaskOutput, row_context: RowContext) -> TaskRecord:
    """What the row says of the task, which `row_context` is that of."""
    usage = row_context.usage
    return TaskRecord(
        assignment.name,
        assignment.texts.persona.role,
        output.raw,
        usage.calls,
        usage.tokens,
        usage.truncated > 0,
        tool_failures=row_context.tool_failures,
        finish_reason=usage.finish_reason,
    )


async def _write_file(assignment: TaskAssignment, output_file: str, output: TaskOutput, kickoff: Kickoff) -> None:
    """Write the output to `output_file`, the task's with the row's inputs filled in."""
    task = assignment.task
    path = await write_output(
        task.output_file or output_file,
        output_file,
        output.text,
        create_directory=task.create_directory,
        field=f"tasks.{assignment.name}.output_file",
    )
    kickoff.row_context.add_file(path)


async def _log(log: LogFile, assignment: TaskAssignment, row_context: RowContext, **entry: str) -> None:
    """Add an entry about the task to the crew's log."""
    if log.path not in row_context.files:
        row_context.add_file(log.path)
    texts = assignment.texts
    await log.write(task_name=assignment.name, task=texts.description, agent=texts.persona.role, **entry)


def _callbacks(task: Task, kickoff: Kickoff) -> list[Any]:
    """The callbacks for the task's output, each once, even if it is named several times."""
    several: list[Any] = []
    for callback in (task.callback, *task.callbacks, *kickoff.on_task):
        if callback is not None and callback not in several:
            several.append(callback)
    return several


def _own_texts(assignment: TaskAssignment) -> tuple[str, ...]:
    """The texts of task and agent without a row's inputs; a tag of reasoning that they ask for stays in the answer."""
    task, agent, schema = assignment.task, assignment.agent, assignment.schema
    templates = (agent.system_template or "", agent.prompt_template or "")
    words = (task.description, task.expected_output, agent.role, agent.goal, agent.backstory)
    return (*words, *templates, schema.text if schema else "")


def opening(assignment: TaskAssignment, context: str) -> Prompt:
    """The first prompt for the task's agent, with earlier answers as `context`."""
    task = assignment.task
    texts, schema = assignment.texts, assignment.schema
    files = tell_of(assignment.files) if assignment.files else ""
    before = user_prompt(
        f"{texts.description.strip()}{texts.trigger}{files}",
        texts.expected_output,
        markdown=task.markdown,
        schema=schema.text if schema else None,
    )
    passages = assignment.passages
    if passages is None:
        passages = assignment.background.passages_for(texts.description)
    if passages:
        before = with_passages(before, passages)
    before = with_context(before) if context else before
    prompt = assignment.agent.compose(texts.persona, before, context, assignment.system)
    return prompt._replace(parts=parts_of(assignment.files)) if assignment.files else prompt


def _output(assignment: TaskAssignment, answer: Answer, row_context: RowContext) -> TaskOutput:
    texts = assignment.texts
    output = TaskOutput(
        raw=answer.text,
        description=texts.description,
        name=assignment.task.name,
        expected_output=texts.expected_output,
        summary=_summary(texts.description),
        agent=texts.persona.role,
        messages=[as_dict(message) for message in answer.messages],
    )
    if answer.structured is not None:
        _put_value(assignment.task, output, answer.structured)
    if row_context.failed_tools is not None:
        output.tool_failures = records_of(row_context.failed_tools.calls, texts.persona.role, assignment.name)
    return output


def _put_value(task: Task, output: TaskOutput, structured: Structured) -> None:
    is_model = task.output_pydantic is not None
    output.put(structured, "pydantic" if is_model else "json")
    output.output_format = OutputFormat.PYDANTIC if is_model else OutputFormat.JSON


async def _guarded(
    assignment: TaskAssignment, prompt: Prompt, kickoff: Kickoff, row_context: RowContext, output: TaskOutput
) -> TaskOutput:
    """An output that passes every guardrail in turn. After one that does not, the agent is told why and tries again."""
    task = assignment.task
    judge = partial(
        assignment.agent.judge, description=assignment.texts.description, kickoff=kickoff, row_context=row_context
    )
    guardrails = task.all_guardrails
    retries = [0] * len(guardrails)
    position = 0
    while position < len(guardrails):
        text = output.raw
        outcome = await check(guardrails[position], output, f"task {assignment.name!r}", judge)
        if outcome.fault is None:
            output = _replaced(assignment, output, outcome.replacement, text)
            position += 1
            continue
        if retries[position] == task.guardrail_max_retries:
            raise no_more_tries(retries[position] + 1, outcome.fault)
        retries[position] += 1
        count_retry(task)
        retry = prompt._replace(after=f"{prompt.after}\n\n{retry_prompt(outcome.fault, output.raw)}")
        answer = await assignment.agent.perform(
            retry, kickoff, row_context, assignment.toolbox, assignment.schema, assignment.task_of_row
        )
        output, position = _output(assignment, answer, row_context), 0  # a new answer must pass all of them
    return output


def _replaced(assignment: TaskAssignment, output: TaskOutput, replacement: Any, text: str) -> TaskOutput:
    """The output after a guardrail, which may have returned a replacement.

    `text` is the output's text before the guardrail: a text that differs from it is validated against the schema.
    """
    if replacement is None or replacement is output:
        return output
    schema = assignment.schema
    try:
        if isinstance(replacement, TaskOutput):
            has_same_value = replacement.pydantic == output.pydantic and replacement.json_dict == output.json_dict
            if schema is None or replacement.raw == text or not (has_same_value or _is_only_text(replacement)):
                return replacement
            replacement = replacement.raw
        if not isinstance(replacement, str):
            new_output = replaced(output, replacement, schema)
            if new_output.pydantic is not None:
                new_output.output_format = OutputFormat.PYDANTIC
            elif new_output is not output:
                new_output.output_format = OutputFormat.JSON
            return new_output
        if replacement == text:
            output.raw = replacement
            return output
        new_output = output.model_copy(update={"raw": replacement})
        if schema is not None:
            _put_value(assignment.task, new_output, schema.read(replacement))
    except NotValid as invalid:
        error = OutputInvalid(f"what the guardrail made of the answer does not validate: {invalid}")
        error.raw = replacement if isinstance(replacement, str) else as_text(jsonable(replacement))
        raise error from None
    return new_output


def _is_only_text(output: TaskOutput) -> bool:
    """Whether the output has only its text, and no value."""
    return output.pydantic is None and output.json_dict is None


def _summary(description: str) -> str:
    """The first ten words, as in CrewAI."""
    return " ".join(description.split(" ", 10)[:10]) + "..."
