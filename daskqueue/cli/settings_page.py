"""docs/settings.md, made from the options of ``daskqueue serve``: ``python -m daskqueue.cli.settings_page``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from daskqueue.cli.serve import app

_HEAD = """\
# Settings of the hosts

Each option of `daskqueue serve queue` and `daskqueue serve consumer` is a flag, a variable and a key of a YAML
file (`--config`). The flag wins over the variable, the variable over the file, the file over the default. A file
with a key that is none of these is refused. Durations are seconds or text such as `90s`, `5 minutes`, `7d`.

This page is made by `python -m daskqueue.cli.settings_page`; a test compares.
"""


def settings_page() -> str:
    """Return the page as Markdown."""
    group: Any = typer.main.get_command(app)
    parts = [_HEAD]
    for name, command in group.commands.items():
        parts.append(f"\n## daskqueue serve {name}\n\n{command.help}\n\n")
        parts.append("| flag | variable | key | default | what |\n|---|---|---|---|---|\n")
        parts.extend(_rows(command))
    return "".join(parts)


def _rows(command: Any) -> Iterator[str]:
    for option in command.params:
        flag = option.opts[0]
        if flag == "--help":
            continue
        key = flag.removeprefix("--").replace("-", "_")
        shown = "" if flag == "--config" else f"`{key}`"
        default = (
            "required"
            if option.required
            else f"`{option.default}`"
            if option.default not in {None, ""}
            else ""
        )
        yield f"| `{flag}` | `{option.envvar}` | {shown} | {default} | {option.help} |\n"


if __name__ == "__main__":
    typer.echo(settings_page(), nl=False)
