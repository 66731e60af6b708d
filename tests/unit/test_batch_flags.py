"""A flag of a batch is declared once: the command line, the crew file and its JSON Schema have it from there."""

import inspect
from dataclasses import fields

import pytest

from crewrun.batch.settings import BatchSettings
from crewrun.batch_flags import batch_flags
from crewrun.cli.batch import batch
from crewrun.definitions.schema import crew_schema
from crewrun.definitions.spec import BatchSpec
from crewrun.flag_fields import FlagField

FLAGS = [pytest.param(field, id=field.name) for field in batch_flags().values()]


def test_the_flags_are_the_settings_and_the_keys_of_the_file() -> None:
    """All of them, in one order."""
    names = list(batch_flags())
    assert [field.name for field in fields(BatchSettings)] == names
    assert list(BatchSpec.model_fields) == names


@pytest.mark.parametrize("field", FLAGS)
def test_a_flag_is_an_option_with_its_variable_and_help(field: FlagField) -> None:
    """Typer gets from the declaration what `--help` shows."""
    (option,) = inspect.signature(batch).parameters[field.name].annotation.__metadata__
    assert (option.default.split("/")[0], option.envvar, option.help) == (field.option, field.variable, field.help)


@pytest.mark.parametrize("field", FLAGS)
def test_a_flag_is_described_in_the_schema_of_the_crew_file(field: FlagField) -> None:
    """Under both spellings, as the file takes both."""
    properties = crew_schema()["$defs"]["BatchSpec"]["properties"]
    assert properties[field.name]["description"] == field.description
    assert properties[field.name.replace("_", "-")] == properties[field.name]
