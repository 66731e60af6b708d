"""Messages as users write them, mappings with `role` and `content`, read into ours: `as_messages`.

They are what OpenAI's chat completions take, and CrewAI's `LLM.call` and `Agent.kickoff`: content may be in parts, an
assistant's turn may have none, and `files` of a message follow its content. Parts of a type that is not known here go
to the provider as they are.
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
# What of a message is read here; everything else goes with it as it is, such as `name`. The last two are marks that
# CrewAI keeps for itself.
_READ = frozenset({"role", "content", "files", "tool_calls", "tool_call_id", "raw_tool_call_parts", "cache_breakpoint"})
_OF_A_CALL = frozenset({"id", "type", "function", "name", "arguments"})


def as_messages(given: Any, whose: str) -> tuple[Message, ...]:
    """The messages in `given`. Raises TypeError that says which one is none, InputInvalid for a file that cannot be
    had: local ones are read here.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence) or not given:
        raise TypeError(f"{whose} has no messages; give a text, or a list of messages with `role` and `content`")
    return tuple(_as_message(one, f"messages[{i}]") for i, one in enumerate(given))


def may_read_files(given: Any) -> bool:
    """Whether `as_messages` may have files to read, which takes its time."""
    if not isinstance(given, Sequence):
        return False
    return any(
        isinstance(one, Mapping) and (one.get("files") or not isinstance(one.get("content"), str | None))
        for one in given
    )


def _as_message(given: Any, where: str) -> Message:
    if not isinstance(given, Mapping):
        raise TypeError(f"{where} is {given!r:.60}; a message is a mapping with `role` and `content`")
    role = given.get("role")
    if role not in _ROLES:
        near = suggest(role, _ROLES) if isinstance(role, str) else ""
        said = f"has the role {role!r}{near}" if "role" in given else "has no role"
        raise TypeError(f"{where} {said}; a role is one of {', '.join(_ROLES)}")
    content = given.get("content")
    calls = _calls(given.get("tool_calls"), where) if role == "assistant" else ()
    if content is None and role != "assistant":
        raise TypeError(f"{where} needs `content`, a text or a list of parts; only an assistant's turn may have none")
    call_id = given.get("tool_call_id")
    if role == "tool" and not isinstance(call_id, str):
        raise TypeError(f"{where} is what a tool gave, and needs `tool_call_id`, the id of the call")
    carried = {key: value for key, value in given.items() if key not in _READ and value is not None}
    return Message(
        role,
        tool_calls=calls,
        tool_call_id=call_id if role == "tool" else None,
        carried=_json(carried, where) if carried else "",
        **_content(content, given.get("files"), where),
    )


def _content(content: Any, files: Any, where: str) -> dict[str, Any]:
    """The fields `content` and `parts` of a message."""
    if isinstance(content, str | None) and not files:
        return {"content": content or ""}
    if isinstance(content, str | None):
        parts = [Part.of_text(content)] if content else []
    elif isinstance(content, Sequence) and not isinstance(content, bytes) and content:
        parts = [part for i, one in enumerate(content) for part in _parts(one, f"{where}.content[{i}]")]
    else:
        raise TypeError(f"{where} has {content!r:.60} as `content`; it is a text, or a list of parts")
    return in_parts([*parts, *(_attached(files, f"{where}.files") if files else ())])


def _parts(given: Any, where: str) -> Iterator[Part]:
    if isinstance(given, str):
        yield Part.of_text(given)
    elif is_file(given):
        yield from _attached({"file": given}, where)
    elif not isinstance(given, Mapping) or not isinstance(given.get("type"), str):
        raise TypeError(f"{where} is {given!r:.60}; a part is a mapping with `type`, such as text or image_url")
    elif given["type"] == "text":
        if not isinstance(given.get("text"), str):
            raise TypeError(f"{where} is a part of type text, and its `text` is {given.get('text')!r:.60}")
        yield _part(given, where, text=given["text"])
    elif given["type"] == "image_url":
        yield _image(given, where)
    else:
        yield _part(given, where, label=f"a part of type {given['type']}")


def _image(given: Mapping[str, Any], where: str) -> Part:
    """An image's part. A path in it becomes the image; it may not leave the crew's folder."""
    image = given.get("image_url")
    fields = {"url": image} if isinstance(image, str) else image
    url = fields.get("url") if isinstance(fields, Mapping) else None
    if not isinstance(fields, Mapping) or not isinstance(url, str):
        raise TypeError(f"{where} needs `image_url` with a `url`: an address, a data URI or a path")
    if is_address(url):
        label = url if url[:5].lower() != "data:" else f"image: {url[:40]}…, {len(url):,} characters"
        return _part({**given, "image_url": fields}, where, label=label)
    files = {"image_url": File(source="{url}")}
    try:
        as_source(url)
    except ValueError as wrong:
        raise InputInvalid(f"{where}: {reason(wrong)}") from None
    (one,) = attach(files, {"url": url}, row_folder(), where)
    inner = one.part.wire.get("image_url")
    if not isinstance(inner, Mapping):
        raise InputInvalid(f"{where}: {url!r} is no image, but {one.about}")
    return _part({**given, "image_url": {**fields, **inner}}, where, label=one.part.label)


def _attached(files: Any, where: str) -> tuple[Part, ...]:
    try:
        named = as_files(files, where)
    except ValueError as wrong:
        raise InputInvalid(str(wrong)) from None
    return parts_of(attach(named, {}, row_folder(), where))


def _part(wire: Mapping[str, Any], where: str, label: str = "", text: str | None = None) -> Part:
    try:
        return Part.of(dict(wire), label, text)
    except (TypeError, ValueError) as wrong:
        raise TypeError(f"{where} is no JSON: {wrong}") from None


def _calls(given: Any, where: str) -> tuple[ToolCall, ...]:
    """The calls of a turn, in OpenAI's form and in that of `AgentOutput.messages`."""
    if not isinstance(given, Sequence | None) or isinstance(given, str):
        raise TypeError(f"{where}.tool_calls is {given!r:.60}; it is a list of calls")
    return tuple(_call(one, f"{where}.tool_calls[{i}]") for i, one in enumerate(given or ()))


def _call(given: Any, where: str) -> ToolCall:
    fields = given.get("function", given) if isinstance(given, Mapping) else None
    name = fields.get("name") if isinstance(fields, Mapping) else None
    call_id = given.get("id") if isinstance(given, Mapping) else None
    if not isinstance(fields, Mapping) or not isinstance(name, str) or not isinstance(call_id, str):
        raise TypeError(f"{where} is no call with `id` and `function`, a mapping with `name` and `arguments`")
    arguments = fields.get("arguments") or "{}"
    carried = {key: value for key, value in given.items() if key not in _OF_A_CALL and value is not None}
    text = arguments if isinstance(arguments, str) else _json(arguments, where)
    return ToolCall(call_id, name, text, _json(carried, where) if carried else "")


def _json(value: Any, where: str) -> str:
    try:
        return json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError) as wrong:
        raise TypeError(f"{where} has something that is no JSON: {wrong}") from None
