"""Typer's commands with our help and our words for misuse: `Program` and `Command`, for Typer's `cls`."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typer.core import TyperCommand, TyperGroup

from crewrun.cli.help_text import help_of_command, help_of_group, usage
from crewrun.cli.misuse import WORDS, empty_value, is_misuse, no_such_command, swallowed_flag
from crewrun.errors import OutputClosed, OutputFailed, UsageError

# Both accept -h, which Typer does not by itself.
HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class Command(TyperCommand):
    """A command whose help is made by `cli.help_text`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer does. Raises UsageError where a flag stands in the place of another one's value, or a value is
        empty, and as `_printing` does.
        """
        ctx.meta[WORDS] = args_before = tuple(args)
        try:
            with _printing():
                rest = super().parse_args(ctx, args)
        except Exception as wrong:
            if is_misuse(wrong) and getattr(wrong, "ctx", ctx) is None:
                wrong.ctx = ctx  # Typer leaves it out where a value is missing
            raise
        message = swallowed_flag(ctx.params, self.params, args_before) or empty_value(ctx.params, self.params)
        if message is not None and not ctx.resilient_parsing:
            raise UsageError(message)
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help into click's `formatter`."""
        formatter.write(help_of_command(ctx.command_path, self.help or "", self.get_params(ctx)))

    def get_usage(self, ctx: Any) -> str:
        """The first line of the help."""
        return f"Usage: {usage(ctx.command_path, self.get_params(ctx))}"


class Program(TyperGroup):
    """The commands together."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer does. Raises as `_printing` does."""
        with _printing():
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As Typer does. Raises UsageError for a word that is no command."""
        if args and args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise UsageError(no_such_command(args[0], self.commands))
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help into click's `formatter`."""
        formatter.write(help_of_group(ctx.command_path, self.help or "", self.get_params(ctx), self.commands))


@contextmanager
def _printing() -> Iterator[None]:
    """While Typer parses, which prints help and version. Raises OutputClosed when the reader of that is gone,
    and OutputFailed when it cannot be written.
    """
    try:
        yield
    except OSError as failed:
        if failed.errno == errno.EPIPE:
            raise OutputClosed("standard output was closed") from failed
        raise OutputFailed(f"standard output: cannot be written: {failed.strerror}") from failed
