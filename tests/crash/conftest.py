"""The suite says at its end what it has done."""

from __future__ import annotations

from .injected import injected


def pytest_terminal_summary(terminalreporter):
    """Print the number of injected faults, by kind."""
    if not injected:
        return
    terminalreporter.section("injected faults")
    for kind, number in sorted(injected.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"{number:9,}  {kind}")
    terminalreporter.write_line(f"{injected.total():9,}  in all")
