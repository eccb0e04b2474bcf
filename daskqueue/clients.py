"""Dask clients: the one that is here, or one made for a scheduler's address."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any, cast

from distributed import Client, default_client, get_client, get_worker
from distributed.comm import CommClosedError, get_address_host_port

from daskqueue.clock import Clock
from daskqueue.errors import ConnectionFailedError

if TYPE_CHECKING:
    from distributed import Worker

# A client that has not found its scheduler again for so long closes itself, and its pools with it.
RECONNECT_SECONDS = 3600.0
# How long a process that has only unpickled a handle tries to reach the scheduler.
ATTACH_SECONDS = 30.0
CLOSE_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
# A scheduler that was found in the last moment may take so long for the rest.
_LEAST_SECONDS = 1.0
# Packets to a pod that is gone vanish; the next attempt may find its successor.
_ATTEMPT_SECONDS = 3.0
# How long one attempt to find a lost scheduler again may take.
_HANDSHAKE_SECONDS = 5.0
_WITHIN_PROCESS = "inproc:"

_shared: dict[str, Client] = {}
_lock = threading.Lock()


class PatientClient(Client):
    """A client that outlives its scheduler.

    Dask has one time-out for the first connection and for those after it, and lets the pauses between its attempts
    grow to minutes; this one goes on for an hour, and finds a new scheduler within seconds.
    """

    _attempt_seconds: float | None = None

    async def _ensure_connected(self, timeout: float | None = None) -> None:
        if timeout is not None and self._attempt_seconds is not None:
            timeout = min(timeout, self._attempt_seconds)
        try:
            await self._connect(timeout)
        except asyncio.CancelledError:
            if self.status not in {"closing", "closed"}:
                raise
            return  # Dask would log the whole stack of a client that is closed while it tries
        self._attempt_seconds = _HANDSHAKE_SECONDS
        self._timeout = RECONNECT_SECONDS

    async def _connect(self, timeout: float | None) -> None:
        """Connect; the first time, begin anew while there is time if the scheduler goes away just then."""
        first = self._attempt_seconds is None and timeout is not None
        clock = Clock()
        give_up_at = clock.now() + (timeout or 0.0)
        while True:
            try:
                await cast("Any", super())._ensure_connected(timeout=timeout)  # noqa: SLF001  its only place
            except CommClosedError:
                timeout = give_up_at - clock.now()
                if not first or timeout <= 0:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return


def client_here() -> Client:
    """Return the client of this task, or the default one of this process.

    Raises:
        ValueError: there is none.
    """
    try:
        return get_client()
    except ValueError:
        return cast("Client", cast("Any", default_client)())


def worker_here() -> Worker | None:
    """Return the Dask worker that this code runs on as a task, None if it does not."""
    try:
        return get_worker()
    except ValueError:
        return None


def shared_client(address: str, seconds: float = ATTACH_SECONDS) -> Client:
    """Return this process's one client of a scheduler, for tasks and for handles that were pickled elsewhere.

    It stays for good. The client of a task (``get_client``) would not do: a host's worker, and its client with
    it, is another one after a restart of the scheduler, while tasks run on.

    Raises:
        ConnectionFailedError: no scheduler at *address*.
    """
    with _lock:
        client = _shared.get(address)
        if client is None or client.status in {"closing", "closed"}:
            client = _shared[address] = open_client(address, seconds)
        return client


def open_client(address: str, seconds: float) -> Client:
    """Return a new client of the scheduler at *address*, for any thread.

    Raises:
        ConnectionFailedError: no scheduler answered within *seconds*.
    """
    try:
        # A client that cannot connect leaves its thread behind: somebody who tries for long would have many.
        left = _wait_for_listener(address, seconds)
        return _client(address, max(left, _LEAST_SECONDS))
    except (OSError, ImportError) as error:
        raise failure(address, seconds, error) from error


async def open_client_here(address: str, seconds: float) -> Client:
    """Return a new client on the running event loop; see :func:`open_client`."""
    client = _client(address, seconds, asynchronous=True)
    try:
        await client
    except (OSError, ImportError) as error:
        raise failure(address, seconds, error) from error
    return client


def failure(address: str, seconds: float, error: BaseException) -> ConnectionFailedError:
    """Return the error of a scheduler that could not be reached, with what to look at."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return ConnectionFailedError(
        f"no Dask scheduler at {address} within {seconds:g} s ({str(cause) or repr(cause)}). Check the address, "
        "and that the scheduler runs: `kubectl get dq` says what a queue waits for; without Kubernetes, look at "
        "the process `dask scheduler`"
    )


def close_soon(client: Client) -> None:
    """Close a client that nobody uses any more, from whatever thread this is."""
    threading.Thread(target=close_client, args=[client], daemon=True, name="daskqueue-close").start()


def close_client(client: Client) -> None:
    """Close a client from outside of its event loop; returns when it is closed."""
    if client.status not in {"closing", "closed"}:
        client.close(timeout=CLOSE_SECONDS)


def check_address(address: str) -> None:
    """Make sure that *address* can be a scheduler's.

    Raises:
        ValueError: it cannot.
    """
    if address.startswith(_WITHIN_PROCESS):
        return
    try:
        get_address_host_port(address)
    except (ValueError, AssertionError, TypeError, AttributeError) as error:
        raise ValueError(
            f"address is {address!r}; give that of a Dask scheduler, such as tcp://host:8786"
        ) from error


def _wait_for_listener(address: str, seconds: float) -> float:
    """Return what is left of *seconds* when somebody listens at *address*; raise why nobody does at their end."""
    if address.startswith(_WITHIN_PROCESS):
        return seconds
    where = get_address_host_port(address)
    clock, pause = Clock(), threading.Event()
    give_up_at = clock.now() + seconds
    while True:
        left = give_up_at - clock.now()
        try:
            socket.create_connection(where, min(max(left, _PAUSE_SECONDS), _ATTEMPT_SECONDS)).close()
        except OSError:
            if left <= 0:
                raise
            pause.wait(_PAUSE_SECONDS)
        else:
            return left


def _client(address: str, seconds: float, *, asynchronous: bool = False) -> Client:
    made: Client = cast("Any", PatientClient)(
        address, timeout=seconds, asynchronous=asynchronous, set_as_default=False, name="daskqueue"
    )
    return made
