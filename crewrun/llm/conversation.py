"""Converts messages as users write them, mappings with `role` and `content`, to ours: `as_messages`.

The format is that of OpenAI's chat completions and of CrewAI's `LLM.call` and `Agent.kickoff`: content may be in parts,
an assistant's turn may have none, and a message's `files` follow its content. Parts of unknown types go to the provider
unchanged.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from crewrun.errors import InputInvalid, suggest
from crewrun.files.attachment import attach, parts_of
from crewrun.files.file import File, as_files, is_file, reason
from crewrun.files.folder import row_folder
from crewrun.files.source import as_source, is_address
from crewrun.messages import Message, Part, Role, ToolCall, in_parts

_ROLES: tuple[str, ...] = get_args(Role)
# The fields of a message that are read here; all others, such as `name`, are passed on unchanged. The last two are
# CrewAI's internal marks.
_READ = frozenset({"role", "content", "files", "tool_calls", "tool_call_id", "raw_tool_call_parts", "cache_breakpoint"})
_OF_A_CALL = frozenset({"id", "type", "function", "name", "arguments"})


def as_messages(messages: Any, whose: str) -> tuple[Message, ...]:
    """Convert `messages`. Local files are read here. Raises TypeError that names the malformed message, and
    InputInvalid for a file that cannot be used.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise TypeError(f"{whose} has no messages; give a text, or a list of messages with `role` and `content`")
    return tuple(_as_message(one, f"messages[{i}]") for i, one in enumerate(messages))


def may_read_files(messages: Any) -> bool:
    """Whether `as_messages` may have to read files, which takes time."""
    if not isinstance(messages, Sequence):
        return False
    return any(
        isinstance(one, Mapping) and (one.get("files") or not isinstance(one.get("content"), str | None))
        for one in messages
    )


def _as_message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping):
        raise TypeError(f"{where} is {message!r:.60}; a message is a mapping with `role` and `content`")
    role = message.get("role")
    if role not in _ROLES:
        near = suggest(role, _ROLES) if isinstance(role, str) else ""
        problem = f"has the role {role!r}{near}" if "role" in message else "has no role"
        raise TypeError(f"{where} {problem}; a role is one of {', '.join(_ROLES)}")
    content = message.get("content")
    calls = _calls(message.get("tool_calls"), where) if role == "assistant" else ()
    if content is None and role != "assistant":
        raise TypeError(f"{where} needs `content`, a text or a list of parts; only an assistant's turn may have none")
    call_id = message.get("tool_call_id")
    if role == "tool" and not isinstance(call_id, str):
        raise TypeError(f"{where} is a tool's result and needs `tool_call_id`, the id of the call")
    carried = {key: field for key, field in message.items() if key not in _READ and field is not None}
    return Message(
        role,
        tool_calls=calls,
        tool_call_id=call_id if role == "tool" else None,
        carried=_json(carried, where) if carried else "",
        **_content(content, message.get("files"), where),
    )


def _content(content: Any, files: Any, where: str) -> dict[str, Any]:
    """The `content` and `parts` fields of a message."""
    if isinstance(content, str | None) and not files:
        return {"content": content or ""}
    if isinstance(content, str | None):
        parts = [Part.of_text(content)] if content else []
    elif isinstance(content, Sequence) and not isinstance(content, bytes) and content:
        parts = [part for i, one in enumerate(content) for part in _parts(one, f"{where}.content[{i}]")]
    else:
        raise TypeError(f"{where} has {content!r:.60} as `content`; it is a text, or a list of parts")
    return in_parts([*parts, *(_attached(files, f"{where}.files") if files else ())])


def _parts(value: Any, where: str) -> Iterator[Part]:
    if isinstance(value, str):
        yield Part.of_text(value)
    elif is_file(value):
        yield from _attached({"file": value}, where)
    elif not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
        raise TypeError(f"{where} is {value!r:.60}; a part is a mapping with `type`, such as text or image_url")
    elif value["type"] == "text":
        if not isinstance(value.get("text"), str):
            raise TypeError(f"{where} is a part of type text, and its `text` is {value.get('text')!r:.60}")
        yield _part(value, where, text=value["text"])
    elif value["type"] == "image_url":
        yield _image(value, where)
    else:
        yield _part(value, where, label=f"a part of type {value['type']}")


def _image(part: Mapping[str, Any], where: str) -> Part:
    """An image part. A path, which may not leave the crew's folder, is replaced by the image itself."""
    image = part.get("image_url")
    fields = {"url": image} if isinstance(image, str) else image
    url = fields.get("url") if isinstance(fields, Mapping) else None
    if not isinstance(fields, Mapping) or not isinstance(url, str):
        raise TypeError(f"{where} needs `image_url` with a `url`: a URL, a data URI or a path")
    if is_address(url):
        label = url if url[:5].lower() != "data:" else f"image: {url[:40]}…, {len(url):,} characters"
        return _part({**part, "image_url": fields}, where, label=label)
    files = {"image_url": File(source="{url}")}
    try:
        as_source(url)
    except ValueError as error:
        raise InputInvalid(f"{where}: {reason(error)}") from None
    (one,) = attach(files, {"url": url}, row_folder(), where)
    inner = one.part.wire.get("image_url")
    if not isinstance(inner, Mapping):
        raise InputInvalid(f"{where}: {url!r} is not an image but {one.about}")
    return _part({**part, "image_url": {**fields, **inner}}, where, label=one.part.label)


def _attached(files: Any, where: str) -> tuple[Part, ...]:
    try:
        named = as_files(files, where)
    except ValueError as error:
        raise InputInvalid(str(error)) from None
    return parts_of(attach(named, {}, row_folder(), where))


def _part(wire: Mapping[str, Any], where: str, label: str = "", text: str | None = None) -> Part:
    try:
        return Part.of(dict(wire), label, text)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where} is not JSON: {error}") from None


def _calls(value: Any, where: str) -> tuple[ToolCall, ...]:
    """The tool calls of a turn, in OpenAI's format or in that of `AgentOutput.messages`."""
    if not isinstance(value, Sequence | None) or isinstance(value, str):
        raise TypeError(f"{where}.tool_calls is {value!r:.60}; it is a list of calls")
    return tuple(_call(one, f"{where}.tool_calls[{i}]") for i, one in enumerate(value or ()))


def _call(call: Any, where: str) -> ToolCall:
    fields = call.get("function", call) if isinstance(call, Mapping) else None
    name = fields.get("name") if isinstance(fields, Mapping) else None
    call_id = call.get("id") if isinstance(call, Mapping) else None
    if not isinstance(fields, Mapping) or not isinstance(name, str) or not isinstance(call_id, str):
        raise TypeError(f"{where} is not a call with `id` and `function`, a mapping with `name` and `arguments`")
    arguments = fields.get("arguments") or "{}"
    carried = {key: field for key, field in call.items() if key not in _OF_A_CALL and field is not None}
    text = arguments if isinstance(arguments, str) else _json(arguments, where)
    return ToolCall(call_id, name, text, _json(carried, where) if carried else "")


def _json(value: Any, where: str) -> str:
    try:
        return json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where} has something that is not JSON: {error}") from None
