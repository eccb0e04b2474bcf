"""What a host answers over HTTP."""

from __future__ import annotations

import asyncio
import json

import pytest
from tornado.httpclient import AsyncHTTPClient

from daskqueue.serve.status_server import PAGES, NotDrainableError, StatusPortError, StatusServer


class Consumer:
    """Something served that is ready when it is told to be, and can be drained."""

    reason = ""
    draining = False

    def ready(self):
        return self.reason

    def stats(self):
        return {"role": "consumer", "draining": self.draining}

    def drain(self, on):
        self.draining = on


class Queue(Consumer):
    """Something served that cannot be drained."""

    def drain(self, on):
        raise NotDrainableError("A queue is not drained; take its consumers away instead.")


class Broken(Consumer):
    """Something served whose numbers cannot be had."""

    def stats(self):
        raise RuntimeError("no numbers today")


def asked(served, *questions):
    """Serve, ask each question ``(method, path)``, and return the answers."""

    async def ask():
        server = StatusServer(served, 0, "127.0.0.1")
        await server.start()
        http = AsyncHTTPClient(force_instance=True)
        try:
            return [
                await http.fetch(
                    f"http://127.0.0.1:{server.port}{path}",
                    method=method,
                    raise_error=False,
                    allow_nonstandard_methods=True,
                )
                for method, path in questions
            ]
        finally:
            http.close()
            await server.stop()

    return asyncio.run(ask())


def text(answer):
    return answer.body.decode()


def test_a_process_that_answers_is_healthy_whether_ready_or_not():
    served = Consumer()
    served.reason = "The queue is still reading its log."
    health, ready = asked(served, ("GET", "/healthz"), ("GET", "/readyz"))
    assert health.code == 200
    assert (ready.code, text(ready)) == (503, "The queue is still reading its log.\n")


def test_who_is_ready_says_so():
    (ready,) = asked(Consumer(), ("GET", "/readyz"))
    assert (ready.code, text(ready)) == (200, "ready\n")


def test_stats_are_json():
    (stats,) = asked(Consumer(), ("GET", "/stats"))
    assert stats.headers["Content-Type"] == "application/json"
    assert json.loads(stats.body) == {"role": "consumer", "draining": False}


def test_drain_begins_with_post_ends_with_delete_and_answers_with_the_stats():
    begun, ended = asked(Consumer(), ("POST", "/drain"), ("DELETE", "/drain"))
    assert (begun.code, json.loads(begun.body)["draining"]) == (200, True)
    assert (ended.code, json.loads(ended.body)["draining"]) == (200, False)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_queue_refuses_to_be_drained_and_says_what_to_do(method):
    (answer,) = asked(Queue(), (method, "/drain"))
    assert (answer.code, text(answer)) == (405, "A queue is not drained; take its consumers away instead.\n")


def test_metrics_are_those_of_the_process():
    (answer,) = asked(Consumer(), ("GET", "/metrics"))
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert "process_resident_memory_bytes" in text(answer)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/stats", "GET"), ("DELETE", "/metrics", "GET"), ("GET", "/drain", "POST, DELETE")],
)
def test_a_wrong_method_is_told_the_right_ones(method, path, allowed):
    (answer,) = asked(Consumer(), (method, path))
    assert (answer.code, answer.headers["Allow"]) == (405, allowed)
    assert text(answer) == f"{path} knows no {method}; it answers {allowed.replace(', ', ' and ')}.\n"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/", "/metrics/all", "/drain/../stats/x"])
def test_an_unknown_path_is_told_all_paths(method, path):
    (answer,) = asked(Consumer(), (method, path))
    assert answer.code == 404
    assert [known for known in PAGES if known not in text(answer)] == []


def test_a_failure_is_said_and_does_not_end_the_server(caplog):
    caplog.set_level("WARNING", logger="daskqueue")
    failed, health = asked(Broken(), ("GET", "/stats"), ("GET", "/healthz"))
    assert failed.code == 500
    assert "no numbers today" in text(failed)
    assert health.code == 200
    assert "no numbers today" in caplog.text


def test_a_taken_port_is_a_sentence_with_the_option_to_change():
    async def start_two():
        first = StatusServer(Consumer(), 0, "127.0.0.1")
        await first.start()
        try:
            with pytest.raises(StatusPortError, match=rf"port {first.port}.*choose another --metrics-port"):
                await StatusServer(Consumer(), first.port, "127.0.0.1").start()
        finally:
            await first.stop()

    asyncio.run(start_two())


def test_a_connection_that_a_scraper_keeps_open_does_not_hold_up_the_end():
    async def stop_under_a_scraper():
        server = StatusServer(Consumer(), 0, "127.0.0.1")
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"ok\n")
        async with asyncio.timeout(5):
            await server.stop()
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    asyncio.run(stop_under_a_scraper())
