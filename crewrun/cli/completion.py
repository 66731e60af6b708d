"""`crewrun completion`: prints what a shell needs to complete commands, flags and their values; and `candidates`.

At each Tab the shell calls `crewrun __complete WORD…` with the words up to the cursor, the last one as far as it is
written, and gets a line per candidate, `value<Tab>description`, or `:files` where a path belongs. Typer's own scripts
are not used: for zsh and fish they import rich, which makes each Tab take half as long again, and the one for zsh has
the shell evaluate help texts.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import typer

from crewrun.cli.help_text import choices

Shell = Literal["bash", "zsh", "fish"]
FILES = ":files"
# A description is one line beside its value.
_DESCRIPTION_CHARS = 80

_SCRIPTS: Mapping[Shell, str] = {
    "bash": """\
_crewrun() {
    local IFS=$'\\n' line
    COMPREPLY=()
    while read -r line; do
        # Nothing to offer: readline completes names of files.
        [[ $line == :files ]] && return
        COMPREPLY+=("${line%%$'\\t'*}")
    done < <("$1" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o bashdefault -o default -F _crewrun crewrun
""",
    "zsh": """\
#compdef crewrun
_crewrun() {
    local line
    local -a candidates
    for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -z $line ]] && continue
        if [[ $line == :files ]]; then
            _files
            return
        fi
        candidates+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done
    _describe -V crewrun candidates
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _crewrun "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _crewrun crewrun
fi
""",
    "fish": """\
function __crewrun_complete
    set -l words (commandline -opc)
    set -l lines ($words[1] __complete $words[2..-1] (commandline -ct) 2>/dev/null)
    if test "$lines[1]" = :files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $lines
    end
end
complete -c crewrun -f -k -a '(__crewrun_complete)'
""",
}


class Candidate(NamedTuple):
    """What the word at the cursor may become."""

    value: str
    description: str = ""


def completion(
    shell: Shell | None = typer.Argument(
        None, metavar="[bash|zsh|fish]", help="The shell that completes. [default: that of $SHELL]"
    ),
) -> None:
    """Print a script for your shell that completes commands, flags and their values at Tab.

    Exit codes: 0 it is printed; 2 no script for this shell.
    """
    from crewrun.cli.setup import open_stdout, put_data
    from crewrun.errors import UsageError

    stdout = open_stdout()
    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    script = next((script for shell_name, script in _SCRIPTS.items() if shell_name == name), None)
    if script is None:
        raise UsageError(f"completion: which shell? Name one of {', '.join(get_args(Shell))}")
    put_data(stdout, script.rstrip("\n"))


def print_candidates(program: Any, words: Sequence[str]) -> None:
    """What `crewrun __complete WORD…` prints for `program`, the group of all commands."""
    from crewrun.terminal import announce

    offered = candidates(program.commands, program.params, words)
    if offered is None:
        announce(FILES)
        return
    for value, description in offered:
        announce(f"{value}\t{description}")


def candidates(commands: Mapping[str, Any], flags: Sequence[Any], words: Sequence[str]) -> list[Candidate] | None:
    """What may stand at the last of `words`, None for the name of a file. `flags` are those of the program itself."""
    *before, current = _joined(words) or [""]
    name = next((word for word in before if not word.startswith("-")), None)
    if name is None:
        if current.startswith("-"):
            return _flags(flags, [], current)
        rows = (
            Candidate(name, _first_sentence(command.help)) for name, command in commands.items() if not command.hidden
        )
        return [row for row in rows if row.value.startswith(current)]
    # `plan` hands all its words to `batch`, so it has no parameters of its own.
    command = commands.get("batch" if name == "plan" else name)
    return None if command is None else _of_command(command, before[before.index(name) + 1 :], current)


def _of_command(command: Any, before: Sequence[str], current: str) -> list[Candidate] | None:
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    takes_value = {name: one for one in options if not one.is_flag for name in one.opts}
    if "--" not in before:
        if before and before[-1] in takes_value:
            return _values(takes_value[before[-1]], current)
        flag, equals, value = current.partition("=")
        if equals and flag in takes_value:
            offered = _values(takes_value[flag], value)
            return offered and [Candidate(f"{flag}={value}", text) for value, text in offered]
        if current.startswith("-"):
            return _flags(options, before, current)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    place = len(_positional(before, takes_value))
    argument = arguments[min(place, len(arguments) - 1)] if arguments else None
    return None if argument is None else _values(argument, current)


def _values(parameter: Any, current: str) -> list[Candidate] | None:
    words = choices(parameter) or _known_words(parameter.name)
    if not words:
        return None
    return [Candidate(word) for word in words if word.startswith(current)]


def _known_words(parameter: str) -> Sequence[str]:
    """Words for a parameter that takes others too: the manual's topics, the categories of failures."""
    from crewrun.errors import Category
    from crewrun.manual import TOPICS

    return {"topic": list(TOPICS), "only": [category.value for category in Category]}.get(parameter, ())


def _flags(options: Iterable[Any], before: Sequence[str], current: str) -> list[Candidate]:
    """The flags that begin like `current`, without those that are there already. Short ones are not offered."""
    free = (one for one in options if one.multiple or not {*one.opts, *one.secondary_opts} & {*before})
    return [
        Candidate(name, _first_sentence(one.help))
        for one in free
        for name in (*one.opts, *one.secondary_opts)
        if name.startswith(current) and name.startswith("--")
    ]


def _positional(before: Sequence[str], takes_value: Mapping[str, Any]) -> list[str]:
    """The words that are neither flags nor their values."""
    return [
        word
        for word, previous in zip(before, ("", *before), strict=False)
        if not word.startswith("-") and previous not in takes_value
    ]


def _joined(words: Sequence[str]) -> list[str]:
    """Words of bash, which cuts `--progress=plain` into three; the value is offered by itself there."""
    whole: list[str] = []
    for word in words:
        if word == "=" and whole and whole[-1].startswith("--"):
            continue
        whole.append(word)
    return [*whole, ""] if words and words[-1] == "=" else whole


def _first_sentence(text: str | None) -> str:
    first = " ".join((text or "").partition("\n\n")[0].split()).partition(". ")[0].partition(" [")[0]
    return first if len(first) <= _DESCRIPTION_CHARS else f"{first[: _DESCRIPTION_CHARS - 1]}…"
