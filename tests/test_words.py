"""Other programs' options are answered with ours, and only with options that the command has."""

import pytest
from click.testing import CliRunner

from mdm_sampling.cli import COMMANDS, main
from mdm_sampling.cli.words import OTHER_WORDS
from mdm_sampling.registry.registry import KINDS


def output_of(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, arguments)
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("--gen_length", "--max-new-tokens"),
        ("--gen-length", "--max-new-tokens"),
        ("--gen_length=5", "--max-new-tokens"),
        ("--remasking", "--planner"),
        ("--alg", "--planner"),
        ("--num_return_sequences", "its id makes the seed"),
        ("--until", "--eos finish"),
        ("--block_length", "--block-size"),
        ("--cfg_scale", "guidance"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "run", "watch"])
def test_another_programs_option_is_answered_with_ours(command: str, written: str, ours: str) -> None:
    code, output = output_of(command, written, "x")
    assert code == 2
    assert f"No such option '{written.split('=')[0].replace('_', '-')}'. " in output
    assert ours in output


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"plugins"}))
def test_no_command_is_answered_with_an_option_that_it_lacks(command: str) -> None:
    has = {name for parameter in main.get_command(None, command).params for name in parameter.opts}  # type: ignore[arg-type, union-attr]
    for word, hint in OTHER_WORDS.items():
        if f"--{word}" in has or len(word) == 1:
            continue
        code, output = output_of(command, f"--{word}", "x")
        assert code == 2
        ours = hint.split()[0].rstrip(":,")
        assert (f"Here it is {ours}" in output) == (ours in has), (word, output)


def test_an_unknown_option_that_is_nobodys_word_is_told_as_before() -> None:
    code, output = output_of("generate", "--stepz", "4", "x")
    assert code == 2
    assert "--steps" in output
    assert "Here it is" not in output


@pytest.mark.parametrize("command", [*COMMANDS, "plugins check"])
def test_a_misspelt_command_is_answered_with_the_nearest(command: str) -> None:
    code, output = output_of(*(command[:-2] + command[-1]).split())
    assert code == 2
    assert "id you mean" in output
    assert f"'{command.split()[-1]}'" in output.split("id you mean")[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_parts_may_be_written_in_the_singular(kind: str) -> None:
    expected = output_of("list", kind, "--json")
    assert expected[0] == 0
    for written in (kind.removesuffix("s"), kind.replace("_", "-"), kind.removesuffix("s").replace("_", "-")):
        assert output_of("list", written, "--json") == expected
