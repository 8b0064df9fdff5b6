"""Commands: one registry, from which dispatch and the list of commands follow."""

import pytest

from beam_pipeline.cli.main import COMMANDS, main


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_info:
        main([*arguments, "--help"])
    assert exit_info.value.code == 0
    return capsys.readouterr().out


def test_the_help_lists_every_command(capsys):
    text = help_of(capsys)
    assert text == help_of(capsys, "run")
    for command in COMMANDS.values():
        assert f"launcher.py {command.USAGE}" in text
        assert all(line in text for line in command.HELP.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_its_own_help(capsys, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = help_of(capsys, name)
    assert text.startswith("usage: launcher.py" + ("" if name == "run" else f" {name}"))
    assert COMMANDS[name].DESCRIPTION in text


@pytest.mark.parametrize("arguments", [["report", "OUT", "--nope"], ["query", "OUT"], ["models", "fetch"]])
def test_wrong_arguments_end_with_usage(capsys, arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert f"usage: launcher.py {arguments[0]}" in capsys.readouterr().err


def test_user_errors_end_with_a_message(capsys, tmp_path):
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
