"""Pods that are not ready for long are asked why, over real sockets."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from aiohttp import web
from made import NOW, pod

from daskqueue_operator.complaints import LONGEST, complaints


def asked(pods, status=503, text="waiting for\nthe scheduler"):
    """Return what pods that are all at one address say, and how often it was asked."""
    calls = []

    async def readyz(_request):
        calls.append(1)
        return web.Response(status=status, text=text)

    async def whole():
        app = web.Application()
        app.router.add_get("/readyz", readyz)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            return await complaints(pods, NOW, runner.addresses[0][1])
        finally:
            await runner.cleanup()

    return asyncio.run(whole()), len(calls)


def at_home(**more):
    """Return a pod that can be asked here."""
    found = pod(**{"ready": False, "state": {"running": {}}, **more})
    found["status"]["podIP"] = "127.0.0.1"
    return found


def test_a_host_that_is_not_ready_for_long_is_quoted_on_one_line():
    assert asked([at_home()]) == ({"inv-shard-0": "waiting for the scheduler"}, 1)


JUST_NOW = (NOW - timedelta(seconds=5)).isoformat()
SPARED = {
    "a ready pod": at_home(ready=True),
    "a pod that has only started": at_home(since=JUST_NOW),
    "the scheduler, which has no such answer": at_home(component="scheduler"),
    "a pod without an address": pod(ready=False),
}


@pytest.mark.parametrize("case", SPARED)
def test_others_are_not_even_asked(case):
    assert asked([SPARED[case]]) == ({}, 0)


def test_a_pod_that_has_become_ready_meanwhile_says_nothing():
    assert asked([at_home()], status=200) == ({}, 1)


def test_a_long_story_is_cut():
    assert asked([at_home()], text="x" * 5000)[0] == {"inv-shard-0": "x" * LONGEST}


def test_a_pod_that_does_not_answer_says_nothing():
    assert asyncio.run(complaints([at_home()], NOW, port=1)) == {}
