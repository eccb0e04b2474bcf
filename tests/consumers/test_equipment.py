"""What a process opens before its first message and closes after its last, and the hooks round each message."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from daskqueue import Middleware
from daskqueue.actors.handling import Equipment, Handling
from daskqueue.consumer import ConsumerBaseClass, GeneralConsumer
from daskqueue.message import Message
from daskqueue.resources import Resources


def handling(consumer_class=GeneralConsumer, **equipment):
    return Handling(Equipment("consumer-0", consumer_class, **equipment), asyncio.run)


class Logged:
    """Something to be opened that writes down what happens to it."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    def __enter__(self):
        self.log.append(f"enter {self.name}")
        return f"inside {self.name}"

    def __exit__(self, *_):
        self.log.append(f"leave {self.name}")


# Resources


def test_resources_are_opened_in_their_order_and_closed_in_the_reverse_order():
    log = []
    resources = Resources({"a": lambda: Logged(log, "a"), "b": lambda: Logged(log, "b")}, asyncio.run)
    assert dict(resources) == {"a": "inside a", "b": "inside b"}
    resources.close()
    assert log == ["enter a", "enter b", "leave b", "leave a"]
    resources.close()
    assert len(log) == 4


def test_a_generator_context_manager_is_a_resource():
    log = []

    @contextlib.contextmanager
    def opened():
        log.append("open")
        yield 5
        log.append("close")

    resources = Resources({"five": opened}, asyncio.run)
    assert resources["five"] == 5
    resources.close()
    assert log == ["open", "close"]


class OnlyCloses:
    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


class EntersAndCloses(OnlyCloses):
    """As a connection of sqlite3: to leave it ends a transaction, not the connection."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert not self.closed


@pytest.mark.parametrize("kind", [OnlyCloses, EntersAndCloses])
def test_what_has_a_close_is_closed(kind):
    thing = kind()
    resources = Resources({"thing": lambda: thing}, asyncio.run)
    assert resources["thing"] is thing
    resources.close()
    assert thing.closed == 1


def test_a_lock_is_not_taken():
    resources = Resources({"lock": threading.Lock}, asyncio.run)
    assert resources["lock"].acquire(blocking=False)


def test_coroutines_and_asynchronous_context_managers_are_awaited():
    log = []

    @contextlib.asynccontextmanager
    async def opened():
        yield "session"
        log.append("closed")

    async def made():
        return "made"

    with asyncio.Runner() as runner:
        resources = Resources({"session": opened, "made": made}, runner.run)
        assert dict(resources) == {"session": "session", "made": "made"}
        resources.close()
    assert log == ["closed"]


def test_if_one_cannot_be_opened_those_before_are_closed_and_the_error_names_it():
    log = []

    def fail():
        raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away") as caught:
        Resources({"a": lambda: Logged(log, "a"), "db": fail}, asyncio.run)
    assert log == ["enter a", "leave a"]
    assert caught.value.__notes__ == ["while the resource 'db' was opened"]


def test_if_one_cannot_be_closed_the_others_are_and_it_is_logged(caplog):
    caplog.set_level("WARNING", logger="daskqueue")  # a cluster of another test may have silenced it
    log = []

    class Stuck:
        def close(self):
            raise OSError("stuck")

    resources = Resources({"a": lambda: Logged(log, "a"), "stuck": Stuck}, asyncio.run)
    resources.close()
    assert log == ["enter a", "leave a"]
    assert "stuck" in caplog.text


def test_an_unknown_resource_is_a_key_error_that_names_those_there_are():
    resources = Resources({"db": object}, asyncio.run)
    with pytest.raises(KeyError, match="there are: 'db'"):
        resources["bd"]
    assert resources.get("bd") is None


# Consumers


class Recording(ConsumerBaseClass):
    log: list[str]

    def setup(self):
        self.log.append(f"setup {self.name} {self.resources['db']}")

    def process_item(self, item):
        return f"{item} with {self.resources['db']}"

    def teardown(self):
        self.log.append("teardown")


class Hooks(Middleware):
    """Writes down which hook was called; may be told to raise in one."""

    def __init__(self, log, name="m", fails=""):
        self.log, self.name, self.fails = log, name, fails

    def _tell(self, hook, about=""):
        self.log.append(f"{self.name} {hook} {about}".strip())
        if hook == self.fails:
            raise RuntimeError(f"{hook} of {self.name}")

    def on_start(self, consumer):
        self._tell("on_start", consumer.name)

    def on_stop(self, consumer):
        self._tell("on_stop", consumer.name)

    def before_run(self, message):
        self._tell("before_run", message.function.__name__)

    def after_run(self, message, result):
        self._tell("after_run", result)

    def on_failure(self, message, error):
        self._tell("on_failure", error)


def test_a_process_is_opened_from_the_inside_to_the_outside_and_closed_in_the_reverse_order():
    log = []
    kind = type("Mine", (Recording,), {"log": log})
    mine = handling(kind, middleware=(Hooks(log),), resources={"db": lambda: Logged(log, "db")})
    mine.open()
    mine.close()
    mine.close()
    opened = ["enter db", "setup consumer-0 inside db", "m on_start consumer-0"]
    assert log == [*opened, "m on_stop consumer-0", "teardown", "leave db"]


@pytest.mark.parametrize("fails", ["setup", "on_start"])
def test_what_fails_at_the_start_closes_what_was_open(fails):
    log = []

    class Mine(Recording):
        def setup(self):
            super().setup()
            if fails == "setup":
                raise RuntimeError("setup")

    Mine.log = log
    layers = (Hooks(log, "a"), Hooks(log, "b", fails))
    mine = handling(Mine, middleware=layers, resources={"db": lambda: Logged(log, "db")})
    with pytest.raises(RuntimeError, match=fails):
        mine.open()
    assert log[0] == "enter db"
    assert log[-1] == "leave db"
    assert ("teardown" in log) == ("a on_stop consumer-0" in log) == (fails == "on_start")
    assert "b on_stop consumer-0" not in log


# Middleware


def double(number):
    return 2 * number


def fail(text):
    raise ValueError(text)


def run(middleware, function, *args):
    """Return what a message with middleware round it returned."""
    consumer = handling(middleware=tuple(middleware)).open()
    return consumer.process_item(Message(1, function, args))


def without_start(log):
    return [line for line in log if "on_start" not in line]


def test_the_first_is_outermost():
    log = []
    assert run([Hooks(log, "a"), Hooks(log, "b")], double, 2) == 4
    assert without_start(log) == [
        "a before_run double",
        "b before_run double",
        "b after_run 4",
        "a after_run 4",
    ]


def test_a_failure_is_told_and_raised():
    log = []
    with pytest.raises(ValueError, match="bad"):
        run([Hooks(log, "a"), Hooks(log, "b")], fail, "bad")
    assert without_start(log)[2:] == ["b on_failure bad", "a on_failure bad"]


def test_what_before_run_raises_is_the_messages_failure_and_it_does_not_run():
    log = []
    ran = []
    with pytest.raises(RuntimeError, match="before_run of b"):
        run([Hooks(log, "a"), Hooks(log, "b", "before_run"), Hooks(log, "c")], ran.append, 1)
    assert ran == []
    # Those that were told of the beginning are told of the end.
    assert without_start(log) == [
        "a before_run append",
        "b before_run append",
        "a on_failure before_run of b",
    ]


@pytest.mark.parametrize("fails", ["after_run", "on_stop"])
def test_what_raises_after_a_run_is_logged_and_the_result_stays(fails, caplog):
    caplog.set_level("WARNING", logger="daskqueue")  # a cluster of another test may have silenced it
    log = []
    mine = handling(middleware=(Hooks(log, "a"), Hooks(log, "b", fails)))
    assert mine.open().process_item(Message(1, double, (2,))) == 4
    mine.close()
    assert "a after_run 4" in log
    assert "a on_stop consumer-0" in log
    assert f"{fails} of Hooks failed" in caplog.text


def test_what_raises_after_a_failure_is_logged_and_the_error_stays(caplog):
    caplog.set_level("WARNING", logger="daskqueue")  # a cluster of another test may have silenced it
    log = []
    with pytest.raises(ValueError, match="bad"):
        run([Hooks(log, "a"), Hooks(log, "b", "on_failure")], fail, "bad")
    assert log[-1] == "a on_failure bad"
    assert "on_failure of Hooks failed" in caplog.text


async def double_soon(number):
    await asyncio.sleep(0)
    return 2 * number


def test_hooks_are_round_the_awaited_coroutine():
    log = []
    assert run([Hooks(log)], double_soon, 2) == 4
    assert log[-1] == "m after_run 4"


def test_items_of_a_consumer_of_ones_own_are_surrounded_too():
    seen = []

    class Seen(Middleware):
        def after_run(self, message, result):
            seen.append((message, result))

    kind = type("Mine", (Recording,), {"log": []})
    consumer = handling(kind, middleware=(Seen(),), resources={"db": lambda: "db"}).open()
    assert consumer.process_item("item") == "item with db"
    assert seen == [("item", "item with db")]


def test_all_hooks_are_empty():
    assert run([Middleware()], double, 2) == 4
