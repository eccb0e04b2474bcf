"""The page about the state machine says what the table of transitions says."""

from __future__ import annotations

import os
import re
from pathlib import Path

from daskqueue.core import apply as applying
from daskqueue.core import commands, facts
from daskqueue.core import decide as deciding
from daskqueue.core.queue import NEW, TRANSITIONS
from daskqueue.core.tally import State

PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"
REGENERATE = "DASKQUEUE_WRITE_DIAGRAM"
ENDS = (State.ACKED, State.CANCELLED, State.DROPPED, State.PURGED)


def diagram() -> str:
    """Return the table of transitions as a mermaid state diagram; facts on the same line share an arrow."""
    labels: dict[tuple[State | None, State], list[str]] = {}
    for fact, moves in TRANSITIONS.items():
        for move in moves:
            labels.setdefault(move, []).append(fact.__name__)
    lines = ["```mermaid", "stateDiagram-v2"]
    for (old, new), names in labels.items():
        lines.append(f"    {'[*]' if old is NEW else old} --> {new}: {', '.join(names)}")
    lines += [f"    {state} --> [*]" for state in ENDS]
    return "\n".join([*lines, "```"])


def test_the_diagram_on_the_page_is_that_of_the_table() -> None:
    page = PAGE.read_text()
    drawn = re.search(r"```mermaid\n.*?```", page, re.DOTALL)
    assert drawn is not None
    if os.environ.get(REGENERATE):
        PAGE.write_text(page.replace(drawn.group(), diagram()))
        return
    command = f"{REGENERATE}=1 .venv/bin/pytest tests/core/test_diagram.py"
    assert drawn.group() == diagram(), f"the diagram is stale; draw it again with: {command}"


def test_the_page_names_every_command_and_every_fact() -> None:
    page = PAGE.read_text()
    names = [kind.__name__ for table in (deciding._DECIDE, applying._APPLY) for kind in table]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_command_is_decided_and_every_fact_is_applied() -> None:
    for module, root, table in (
        (commands, commands.Command, deciding._DECIDE),
        (facts, facts.Fact, applying._APPLY),
    ):
        known = {kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, root)}
        assert known - {root} == set(table)


def test_every_state_is_reached_and_left_or_an_end() -> None:
    moves = [move for moves in TRANSITIONS.values() for move in moves]
    reached, left = {new for _, new in moves}, {old for old, _ in moves if old is not NEW}
    assert reached == set(State) - {State.SETTLED}
    assert reached - left == set(ENDS)
