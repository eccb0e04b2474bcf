"""How the page about Kubernetes is read and compared."""

from __future__ import annotations

import pytest
from e2e.console import Shell, agrees, lines_of

PAGE = """
```console
$ echo one
one
$ cat <<END
> two
>   three
> END
two
...
```

```sh
not run
```
"""


def test_commands_may_span_lines_and_show_what_follows():
    first, second = lines_of(PAGE)
    assert (first.command, first.shown) == ("echo one", ("one",))
    assert second.command == "cat <<END\ntwo\n  three\nEND"
    assert second.shown == ("two", "...")


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        (["a   b"], "a b\n"),
        (["a ... c"], "a b b c\n"),
        (["...", "end"], "x\ny\nend\n"),
        (["...", "end"], "end\n"),
        (["deleted..."], "deleted from somewhere\n"),
        ([], "\n"),
        (["...consumers: ..."], "4s Normal to 5 consumers: why\n"),
    ],
)
def test_an_output_agrees(shown, output):
    assert agrees(shown, output)


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        (["a"], "b\n"),
        (["a"], "a\nb\n"),
        ([], "a warning\n"),
        (["...", "end"], "end\nmore\n"),
        (["a ... c"], "a b\nc\n"),
        (["1."], "12\n"),
    ],
)
def test_an_output_does_not_agree(shown, output):
    assert not agrees(shown, output)


def test_the_shell_keeps_variables_and_tells_exit_codes(tmp_path):
    shell = Shell(tmp_path, {"PATH": "/usr/bin:/bin"}, tmp_path / "said")
    try:
        assert shell.run("export NAME=x", 10)[0] == 0
        code, output, said = shell.run('echo "$NAME"; echo aside >&2; cat; false', 10)
        assert (code, output.strip(), said.strip()) == (1, "x", "aside")
        with pytest.raises(AssertionError, match="not done within"):
            shell.run("sleep 30", 0.2)
    finally:
        shell.close()
