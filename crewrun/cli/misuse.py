"""What a wrong command line is told: the flag or word as the user wrote it, what is needed there, and the way out.

Typer raises for it; its classes have no public names in all versions, so they are recognised by their own. None of its
words are shown.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeGuard

from crewrun.batch_flags import batch_flags
from crewrun.cli.flags import PARSERS
from crewrun.cli.foreign_flags import advice_for_command, advice_for_flag, names
from crewrun.cli.help_text import choices, metavar, usage
from crewrun.flag_fields import NEEDED
from crewrun.run_files import FOLDER_SUFFIX, RESULTS_SUFFIX

# Where `cli.command_line` leaves the words of a command.
WORDS = "crewrun.words"

# How alike a name must be to be proposed (difflib's ratio): `--resum` and `--resume` are at 0.93, `--retry` and
# `--retries` at 0.82, `--resum` and `--row-budget`, which nobody means, at 0.56.
_LIKE = 0.75
# Flags of these commands may have the advice for a flag of another tool; it names flags of `batch`.
_LIKE_BATCH = frozenset({"batch", "plan", "run"})
_TABLE = re.compile(r".+\.(jsonl|ndjson|json|csv|tsv|xlsx|parquet|arrow)(\.(gz|zst))?", re.IGNORECASE)
_CREW = re.compile(r".+\.(ya?ml|jsonc|py)(:\w+)?", re.IGNORECASE)


def is_misuse(wrong: Exception) -> "TypeGuard[Any]":
    """Whether Typer raised it for a wrong command line."""
    return callable(getattr(wrong, "show", None)) and isinstance(getattr(wrong, "exit_code", None), int)


def explain(wrong: Any) -> str:
    """The message for what Typer raised, as it follows `crewrun: `."""
    context = wrong.ctx
    if context is None:
        return str(wrong.message)
    path, parameters = context.command_path, context.command.params
    name = path.partition(" ")[2]
    match type(wrong).__name__:
        case "NoSuchOption":
            return _no_such_flag(wrong.option_name, context)
        case "BadOptionUsage":
            return _flag_without_value(wrong.option_name, parameters)
        case "MissingParameter":
            return f"{_missing(wrong.param)}\n{_see(path, parameters)}"
        case "BadParameter" if wrong.param is not None:
            return _bad_value(wrong, context)
    if not name:
        return f"which command?\ntry: {path} --help"
    extra = _extra_word(context)
    return f"{extra}\n{_see(path, parameters)}" if extra else f"{name}: {wrong.message}"


def no_such_command(word: str, commands: Mapping[str, Any]) -> str:
    """The message for a first word that is no command."""
    if _is_run(word):
        return f"{word!r} is no command; how far that run is: crewrun status {word}"
    if _TABLE.fullmatch(word):
        return f"{word!r} is no command; to run a crew on its rows: crewrun batch {word}"
    if _CREW.fullmatch(word) or (Path(word).is_dir() and word not in commands):
        return (
            f"{word!r} is no command; to run that crew: crewrun batch INPUTS --crew {word}, or once: crewrun run {word}"
        )
    near = get_close_matches(word.lower(), commands, 1, _LIKE)
    advice = advice_for_command(word)
    if advice is None and not near:
        near_foreign = get_close_matches(word.lower(), names()[1], 1, _LIKE)
        advice = advice_for_command(near_foreign[0]) if near_foreign else None
    if advice is None and near:
        advice = f"did you mean crewrun {near[0]}?"
    return f"there is no command {word!r}; {advice or 'crewrun --help lists them'}"


def swallowed_flag(values: Mapping[str, Any], parameters: Sequence[Any], words: Sequence[str]) -> str | None:
    """The message when a flag stands where the value of another one belongs, as in `-o --fresh`; None if none does.

    In `--grep=--fresh` it is meant as a value.
    """
    flags = {name for one in parameters for name in (*one.opts, *one.secondary_opts) if name.startswith("-")}
    for one in parameters:
        for value in _listed(values.get(one.name)):
            if isinstance(value, str) and value in flags and value in words and one.opts[0].startswith("-"):
                flag = one.opts[0]
                return f"{flag}: needs a value, {metavar(one)}, before {value}; if that is the value: {flag}={value}"
    return None


def empty_value(values: Mapping[str, Any], parameters: Sequence[Any]) -> str | None:
    """The message when a flag of a batch, or its table, is the empty text, as `-o "$UNSET"` is; None if none is."""
    for one in parameters:
        if values.get(one.name) == "" and (one.name in batch_flags() or one.name == "inputs"):
            return f"{_name(one)} is empty; name one, or leave it out"
    return None


def _name(parameter: Any) -> str:
    """How messages call a parameter: the flag, or what stands for the argument."""
    return str(parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar or parameter.name.upper())


def _no_such_flag(flag: str, context: Any) -> str:
    command, path = context.command, context.command_path
    name = path.partition(" ")[2]
    commands = getattr(command, "commands", None)
    if commands is not None:
        return _flag_before_command(flag, commands)
    own = [name for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("--")]
    advice = _advice(flag, own) if name in _LIKE_BATCH else None
    near = get_close_matches(flag, own, 1, _LIKE)
    if advice is None and near:
        advice = f"did you mean {near[0]}?"
    if advice is None:
        others = _with_flag(flag, getattr(context.find_root().command, "commands", {}), name)
        advice = f"it is a flag of crewrun {' and '.join(others)}" if others else f"{path} --help lists the flags"
    return f"{name} has no flag {flag}; {advice}"


def _advice(flag: str, own: Iterable[str]) -> str | None:
    """The advice for another tool's flag, also where it is misspelled and no flag of ours is as near."""
    advice = advice_for_flag(flag)
    if advice is not None or len(flag.lstrip("-")) < 3:
        return advice
    foreign = [f"--{name}" for name in names()[0] if len(name) > 1]
    near = get_close_matches(flag, [*own, *foreign], 1, _LIKE)
    return advice_for_flag(near[0]) if near and near[0] in foreign and near[0] not in own else None


def _flag_before_command(flag: str, commands: Mapping[str, Any]) -> str:
    others = _with_flag(flag, commands, "")
    if others:
        return f"{flag} comes after its command, as in: crewrun {others[0]} {flag} …"
    advice = advice_for_flag(flag)
    return f"there is no flag {flag}; {advice or 'crewrun --help lists the commands, and COMMAND --help its flags'}"


def _with_flag(flag: str, commands: Mapping[str, Any], own: str) -> list[str]:
    """The commands that have the flag, without `own`."""
    having = [name for name, one in commands.items() if any(flag in parameter.opts for parameter in one.params)]
    return [name for name in having if name != own]


def _flag_without_value(flag: str, parameters: Sequence[Any]) -> str:
    parameter = next((one for one in parameters if flag in (*one.opts, *one.secondary_opts)), None)
    if parameter is None or parameter.is_flag:
        return f"{flag}: takes no value; leave out what follows the ="
    return f"{flag}: needs a value, {metavar(parameter)}: {parameter.help}"


def _missing(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"{parameter.metavar or parameter.name.upper()} is missing: {parameter.help}"
    return f"{parameter.opts[0]} {metavar(parameter)} is missing: {parameter.help}"


def _bad_value(wrong: Any, context: Any) -> str:
    """The place (flag or variable), what is needed there and what it is."""
    place, value = _written(wrong.param, context)
    is_ours = wrong.message.startswith("needs to be ")
    return f"{place}: {wrong.message if is_ours else f'needs to be {needed(wrong.param)}'}, not {value!r}"


def _written(parameter: Any, context: Any) -> tuple[str, Any]:
    """How the user gave the value: the flag's name in that spelling, or the variable; and the text."""
    words = context.meta.get(WORDS, ())
    values, _, _ = context.command.make_parser(context).parse_args(args=list(words))
    value = values.get(parameter.name)
    if value is None:
        return str(parameter.envvar or parameter.name), parameter.resolve_envvar_value(context)
    spelled = (name for name in parameter.opts if any(_spells(word, name) for word in words))
    if parameter.param_type_name == "argument":
        return context.command_path.partition(" ")[2], value
    return next(spelled, parameter.opts[0]), value


def _spells(word: str, name: str) -> bool:
    """Whether `word` gives the flag `name` a value: `--limit`, `--limit=5`, `-j5`."""
    return (
        word == name or word.startswith(f"{name}=") or (len(name) == 2 and not word.startswith("--") and name in word)
    )


def needed(parameter: Any) -> str:
    """What a value of Typer's `parameter` has to be."""
    field = batch_flags().get(parameter.name)
    if field is not None and parameter.envvar == field.variable and not choices(parameter):
        return NEEDED[field.flag.kind]
    if choices(parameter):
        return one_of(choices(parameter))
    described = getattr(parameter, "type_descriptor", None)
    parser = getattr(getattr(described, "parameter_info", None), "parser", None)
    by_parser = {function: NEEDED[kind] for kind, function in PARSERS.items()}
    if parser in by_parser:
        return by_parser[parser]
    kind = getattr(described, "annotation", None) or getattr(parameter, "type", None)
    least, most = getattr(parameter, "min", None), getattr(parameter, "max", None)
    noun = "a whole number" if kind is int or "int" in str(kind).lower() else "a number"
    if kind is bool:
        return "true or false"
    bounds = "" if least is None else f" from {least:g}" if most is None else f" from {least:g} to {most:g}"
    return noun + bounds


def one_of(words: Sequence[str]) -> str:
    """`'a', 'b' or 'c'`."""
    *others, last = map(repr, words)
    return f"{', '.join(others)} or {last}" if others else last


def _extra_word(context: Any) -> str | None:
    """The message for a word that no argument takes."""
    words = context.meta.get(WORDS, ())
    _, positional, _ = context.command.make_parser(context).parse_args(args=list(words))
    if not positional:
        return None
    word, name = positional[0], context.command_path.partition(" ")[2]
    if "=" in word and any("-i" in one.opts for one in context.command.params):
        return f"{name} takes no {word!r} there; an input for all rows is -i {word}"
    if _TABLE.fullmatch(word) and name in _LIKE_BATCH:
        return f"{name} takes one table, and {word!r} is another; run them one after the other, or join them"
    return f"{name} takes no further {word!r}"


def _see(path: str, parameters: Sequence[Any]) -> str:
    return f"usage: {usage(path, parameters)}\ntry: {path} --help"


def _is_run(word: str) -> bool:
    return word.rstrip("/").endswith(FOLDER_SUFFIX) or word.endswith(RESULTS_SUFFIX)


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else (value,)
