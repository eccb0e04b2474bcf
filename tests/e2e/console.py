"""Runs the console blocks of a page in one shell, and compares what comes with what the page says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from dataclasses import dataclass

BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
END = "-- end of the command --"


@dataclass(frozen=True)
class Line:
    """A command of a page, and what the page shows below it.

    Args:
        command: as typed; it may be several lines long.
        shown: the lines of output; `...` stands for anything, alone on a line for any number of lines.
    """

    command: str
    shown: tuple[str, ...]


def lines_of(page):
    """Return the commands of a page with what they show, in order."""
    found = []
    for block in BLOCK.findall(page):
        for text in block.splitlines():
            if text.startswith("$ "):
                found.append(([text[2:]], []))
            elif text.startswith("> ") and not found[-1][1]:
                found[-1][0].append(text[2:])
            else:
                found[-1][1].append(text)
    return [Line("\n".join(command), tuple(shown)) for command, shown in found]


def agrees(shown, output):
    """Return whether an output is what a page shows; blank lines and the widths of columns do not matter."""
    pattern = ""
    for line in _tidy(shown):
        words = map(re.escape, line.split("..."))
        pattern += r"(?:[^\n]*\n)*?" if line == "..." else "[^\n]*?".join(words) + "\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _tidy(output.splitlines()))) is not None


def _tidy(lines):
    return [" ".join(line.split()) for line in lines if line.strip()]


class Shell:
    """A bash that keeps its variables from command to command.

    Args:
        folder: where it works.
        environment: its variables.
        log: the file for what goes to standard error; a page shows none of it.
    """

    def __init__(self, folder, environment, log):
        self._log = log
        with log.open("w") as said:
            self._process = subprocess.Popen(
                ["bash", "--noprofile", "--norc"],
                cwd=folder,
                env=environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,
            )

    def run(self, command, timeout):
        """Run a command; return its exit code, its output and what it said besides.

        Args:
            command: its text.
            timeout: seconds after which the shell is killed.
        """
        begin = self._log.stat().st_size
        self._process.stdin.write(f"{{ {command}\n}} < /dev/null\nprintf '\\n{END} %s\\n' $?\n")
        self._process.stdin.flush()
        alarm = threading.Timer(timeout, self._kill)
        alarm.start()
        printed = []
        try:
            for line in self._process.stdout:
                if line.startswith(END):
                    return int(line.removeprefix(END)), "".join(printed), self._log.read_text()[begin:]
                printed.append(line)
        finally:
            alarm.cancel()
        raise AssertionError(
            f"not done within {timeout} s: {command}\n{''.join(printed)}{self._log.read_text()[begin:]}"
        )

    def close(self):
        """End it, and what it has in the background."""
        self._kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _kill(self):
        os.killpg(self._process.pid, signal.SIGKILL)
