"""Typer's commands with our help: `Program` and `Command`, for Typer's `cls`."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

from crewrun.cli.help_pages import help_of_command, help_of_group, usage

# Both accept -h, which Typer does not by itself.
HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class Command(TyperCommand):
    """A command whose help is `cli.help_pages`'s."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help into click's `formatter`."""
        formatter.write(help_of_command(ctx.command_path, self.help or "", self.get_params(ctx)))

    def get_usage(self, ctx: Any) -> str:
        """The first line of the help."""
        return f"Usage: {usage(ctx.command_path, self.get_params(ctx))}"


class Program(TyperGroup):
    """The commands together."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help into click's `formatter`."""
        formatter.write(help_of_group(ctx.command_path, self.help or "", self.get_params(ctx), self.commands))
