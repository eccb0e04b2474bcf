"""What a host opens for its tasks and calls around them; it writes down what it does."""

from __future__ import annotations

import os
from contextlib import contextmanager

import daskqueue
from daskqueue.middleware import Middleware


def write(word):
    with open(os.environ["DIARY"], "a") as diary:
        diary.write(f"{word}\n")


class Diary(Middleware):
    """Writes down each task."""

    def before_run(self, message):
        write(f"before:{message.function.__name__}")

    def after_run(self, message, result):
        write(f"after:{result}")


@contextmanager
def open_answer():
    """Open the answer, and close it at the end."""
    write("opened")
    yield 42
    write("closed")


def ask():
    """Return what was opened."""
    return daskqueue.current().resources["answer"]
