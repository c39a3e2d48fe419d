"""Settings are listed once: the command line has them all, and what says when one is read fits them."""

from dataclasses import fields
from importlib import import_module
from pathlib import Path

import click
import pytest

from mdm_sampling.backends.options import Loading, LoadOptions
from mdm_sampling.cli import COMMANDS
from mdm_sampling.cli.conflicts import RULES
from mdm_sampling.sampler import SETTINGS

LOADING = ("generate", "infill", "watch", "run", "compare", "evaluate")
NOT_A_TEXT = {"quantization_config"}
"""Load options that are objects of transformers, so that the command line has none for them."""


def options_of(name: str) -> dict[str, click.Parameter]:
    command: click.Command = import_module(f"mdm_sampling.cli.{name}").command
    return {str(parameter.name): parameter for parameter in command.params}


@pytest.mark.parametrize("name", LOADING)
def test_every_load_option_is_an_option(name: str) -> None:
    known = {field.name for field in fields(LoadOptions)}
    assert known - NOT_A_TEXT <= options_of(name).keys()
    assert "family" in options_of(name)


def test_what_load_takes_are_the_fields_of_load_options() -> None:
    assert list(Loading.__annotations__) == [field.name for field in fields(LoadOptions)]


def test_the_page_of_evaluations_names_every_load_option_and_setting() -> None:
    page = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text()
    names = [*SETTINGS, *(field.name for field in fields(LoadOptions))]
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", LOADING)
def test_every_setting_of_a_sampler_is_an_option(name: str) -> None:
    """The token sampler is a temperature, top-k and top-p. A sweep sets its own pace; masks set theirs."""
    elsewhere = {"token_sampler"}
    elsewhere |= {"schedule", "steps"} if name == "compare" else {"max_new_tokens"} if name == "infill" else set()
    assert set(SETTINGS) - elsewhere <= options_of(name).keys()
    assert {"temperature", "top_k", "top_p"} <= options_of(name).keys()


def test_every_rule_is_of_options_that_some_command_has() -> None:
    commands = [options_of(name) for name in COMMANDS]
    for rule in RULES:
        assert any({rule.decider, *rule.options} <= options.keys() for options in commands), rule
