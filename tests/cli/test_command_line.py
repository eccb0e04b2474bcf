"""The command ``daskqueue`` itself."""

from __future__ import annotations

from typer.testing import CliRunner

import daskqueue
from daskqueue.cli.main import app


def test_the_version_is_the_package_version():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"daskqueue {daskqueue.__version__}\n")


def test_without_a_subcommand_the_help_names_them_all():
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 2
    for command in app.registered_commands:
        assert command.callback.__name__ in result.output


def test_an_unknown_subcommand_is_refused():
    result = CliRunner().invoke(app, ["demolish"])
    assert result.exit_code == 2
    assert "No such command 'demolish'" in result.output
