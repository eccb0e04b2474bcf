"""Any story told to the queue and to a dict ends the same."""

from __future__ import annotations

from hypothesis import settings

from .machine import QueueMachine

TestTheQueueIsADict = QueueMachine.TestCase
TestTheQueueIsADict.settings = settings(deadline=None, stateful_step_count=50)
