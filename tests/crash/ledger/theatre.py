"""One warm process that forks others: a fork takes milliseconds where a new interpreter with Dask takes seconds.

The theatre has one thread, runs nothing itself, and obeys orders on its standard input, one JSON object a line. It
alone reaps its children, so a process id always means the child that it was given for. All children are killed by
the kernel when the theatre ends, and the theatre when its input does.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import uuid
from pathlib import Path
from typing import Any, Self

TESTS = Path(__file__).parents[2]
# In the environment of every process of a theatre, and of all that they start.
MARK = "DASKQUEUE_THEATRE"
_PR_SET_PDEATHSIG = 1


class Theatre:
    """The test's end: starts players, and leaves none behind.

    Args:
        *modules: imported once, for all players.
    """

    def __init__(self, *modules: str) -> None:
        self.mark = uuid.uuid4().hex
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        here = {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", MARK: self.mark}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crash.ledger.theatre", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **here},
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self, what: str, *args: Any, log: Path | str) -> Player:
        """Fork a process that calls ``module:function`` with plain arguments; its output goes to *log*."""
        return Player(self, self.ask(do="start", what=what, args=args, log=str(log)), Path(log))

    def ask(self, **order: Any) -> Any:
        """Give an order; return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the theatre has ended; what it said is above"
        return json.loads(answer)

    def close(self) -> None:
        """Kill all players, and end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def left_behind(self, seconds: float = 5.0) -> list[int]:
        """Return the processes that still run *seconds* after their theatre was closed, whoever started them."""
        give_up_at = time.monotonic() + seconds
        while (found := self._running()) and time.monotonic() < give_up_at:
            time.sleep(0.01)
        return found

    def _running(self) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:  # it has ended, or is somebody else's
                continue
            if f"{MARK}={self.mark}".encode() in environment and state != "Z":
                found.append(int(folder.name))
        return found


class Player:
    """A process of the play.

    Attributes:
        trapped: whether it may kill itself.
        code: its exit code, or minus the signal that ended it; None as long as nobody has looked.
    """

    def __init__(self, theatre: Theatre, pid: int, log: Path) -> None:
        self.pid = pid
        self._log = log
        self.trapped = False
        self.code: int | None = None
        self._theatre = theatre

    def kill(self) -> bool:
        """Kill it so that it can say nothing any more; return whether it still lived."""
        lived = self.ended() is None
        if lived:
            self.code = self._theatre.ask(do="kill", pid=self.pid)
        return lived

    def signal(self, number: int) -> None:
        """Send it another signal, if it still lives."""
        if self.ended() is None:
            self._theatre.ask(do="signal", pid=self.pid, number=number)

    def ended(self) -> int | None:
        """Return its exit code (or minus the signal that ended it), None while it lives."""
        if self.code is None:
            self.code = self._theatre.ask(do="look", pid=self.pid)
        return self.code

    def said(self) -> str:
        """Return the end of what it, and those before it with the same log, wrote to its output."""
        return self._log.read_text()[-4000:]

    def wait(self, seconds: float) -> int:
        """Return its exit code once it has ended.

        Raises:
            TimeoutError: it has not.
        """
        give_up_at = time.monotonic() + seconds
        while (code := self.ended()) is None:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"process {self.pid} has not ended after {seconds:g} s")
            time.sleep(0.01)
        return code


# In the theatre's own process


def main(modules: list[str]) -> None:
    """Obey until the input ends."""
    _end_with_parent()
    for module in modules:
        importlib.import_module(module)
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads must not be forked"
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for text in sys.stdin:
        answers.write(json.dumps(_obey(json.loads(text))) + "\n")
    # The children die with this process.


def _obey(order: dict[str, Any]) -> Any:
    match order["do"]:
        case "start":
            pid = os.fork()
            if pid == 0:
                _become(order)
            return pid
        case "kill":
            os.kill(order["pid"], signal.SIGKILL)
            return _code(os.waitpid(order["pid"], 0)[1])
        case "signal":
            os.kill(order["pid"], order["number"])
            return None
        case "look":
            ended, status = os.waitpid(order["pid"], os.WNOHANG)
            return _code(status) if ended else None
    raise ValueError(order)


def _code(status: int) -> int:
    return os.waitstatus_to_exitcode(status)


def _become(order: dict[str, Any]) -> None:
    """Turn this fork into a player; never returns."""
    status = 1
    try:
        _end_with_parent()
        os.setpgid(0, 0)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for handle, place in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(handle, place)
        os.closerange(3, 256)
        module, _, function = order["what"].partition(":")
        getattr(importlib.import_module(module), function)(*order["args"])
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001  it must not go on as the theatre
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _end_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
