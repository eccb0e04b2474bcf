"""``daskqueue serve``: hosts of queues and consumers.

The options below are the only list of settings there is: the flags, the variables ``DASKQUEUE_<OPTION>``, the keys of
the YAML file and docs/settings.md all come from it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from dask.utils import parse_bytes

from daskqueue.arguments import check_name, seconds_of
from daskqueue.engine.settings import FSYNC_CHOICES, QueueSettings
from daskqueue.errors import DaskQueueError
from daskqueue.serve.consumer_host import ConsumerHost, ConsumerOptions
from daskqueue.serve.importing import middleware_of, resources_of
from daskqueue.serve.membership import Place
from daskqueue.serve.process import run
from daskqueue.serve.queue_host import QueueHost, QueueOptions

app = typer.Typer(
    help="Host a queue, or consumers, until this process is told to stop.", no_args_is_help=True
)


class Level(StrEnum):
    """The levels of ``logging`` that can be chosen."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Overflow(StrEnum):
    """What a submit to a full shard does."""

    BLOCK = "block"
    RAISE = "raise"
    DROP_OLDEST = "drop_oldest"


class Results(StrEnum):
    """Where a shard keeps what tasks return."""

    DURABLE = "durable"
    MEMORY = "memory"
    NONE = "none"


class Executor(StrEnum):
    """Where a consumer runs its tasks."""

    THREADS = "threads"
    PROCESSES = "processes"


def _option(name: str, text: str, **more: Any) -> Any:
    """Return an option that is also a variable ``DASKQUEUE_<NAME>``."""
    return typer.Option(f"--{name}", envvar=f"DASKQUEUE_{name.upper().replace('-', '_')}", help=text, **more)


def _read_file(context: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a YAML file, before the other options are looked at."""
    if path is None:
        return None
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error
    known = {
        _key_of(option): str(option.name) for option in context.command.params if option.name != "config"
    }
    if not isinstance(content, dict) or set(content) - set(known):
        strange = sorted(map(str, set(content) - set(known))) if isinstance(content, dict) else ["no mapping"]
        raise typer.BadParameter(f"{path} has {', '.join(strange)}; its keys are {', '.join(sorted(known))}")
    context.default_map = {known[key]: str(value) for key, value in content.items() if value is not None}
    return path


def _key_of(option: Any) -> str:
    """Return what an option is called in the file: its flag, with underscores."""
    return str(option.opts[0]).removeprefix("--").replace("-", "_")


Name = Annotated[str, _option("name", "The pool that is served; clients connect to this name.")]
Scheduler = Annotated[str, _option("scheduler", "Address of the Dask scheduler, as tcp://HOST:PORT.")]
Host = Annotated[str, _option("host", "Address that others reach this process at; empty: found out.")]
Port = Annotated[int, _option("port", "Port for Dask; 0: any.", min=0, max=65535)]
MetricsPort = Annotated[
    int,
    _option(
        "metrics-port", "Port of /metrics, /healthz, /readyz and /stats; 0: any, -1: none.", min=-1, max=65535
    ),
]
LocalDirectory = Annotated[
    str, _option("local-directory", "Where Dask may write; empty: the folder for temporary files.")
]
LogLevel = Annotated[Level, _option("log-level", "How much is logged.", case_sensitive=False)]
Config = Annotated[
    Path | None,
    _option(
        "config",
        "A YAML file with these options, named with underscores.",
        callback=_read_file,
        is_eager=True,
    ),
]


@app.command()
def queue(
    name: Name,
    scheduler: Scheduler,
    folder: Annotated[str, _option("dir", "Folder of the shard's files.")],
    shard: Annotated[int, _option("shard", "Number of the shard: 0, 1, ...", min=0)] = 0,
    lease: Annotated[str, _option("lease", "How long a message stays a silent consumer's.")] = "60s",
    fsync: Annotated[str, _option("fsync", f"When a message is on the disk: {FSYNC_CHOICES}.")] = "always",
    max_deliveries: Annotated[
        int,
        _option("max-deliveries", "Times a message may be lost with its consumer before it is dead.", min=1),
    ] = 5,
    retries: Annotated[
        int,
        _option("retries", "Times a task that raised is run again, where its submitter does not say.", min=0),
    ] = 0,
    backoff: Annotated[
        str, _option("backoff", "Pause before a task that raised is run again; it doubles each time.")
    ] = "1s",
    backoff_max: Annotated[str, _option("backoff-max", "The longest of these pauses.")] = "10m",
    max_messages: Annotated[
        int, _option("max-messages", "Most messages that may wait or run; 0: no bound.", min=0)
    ] = 0,
    max_bytes: Annotated[
        str, _option("max-bytes", "Most bytes of messages that wait or run, such as 5GiB; 0: no bound.")
    ] = "0",
    overflow: Annotated[
        Overflow,
        _option("overflow", "What a submit to a full shard does, where its submitter does not say."),
    ] = Overflow.BLOCK,
    results: Annotated[
        Results,
        _option("results", "Where what tasks return is kept: on the disk, until this process ends, nowhere."),
    ] = Results.DURABLE,
    result_ttl: Annotated[str, _option("result-ttl", "How long results are kept.")] = "7d",
    result_bytes: Annotated[str, _option("result-bytes", "How much the results may take.")] = "1GiB",
    result_count: Annotated[
        int, _option("result-count", "How many results are kept; 0: no bound.", min=0)
    ] = 0,
    host: Host = "",
    port: Port = 0,
    metrics_port: MetricsPort = 0,
    local_directory: LocalDirectory = "",
    log_level: LogLevel = Level.INFO,
    config: Config = None,
) -> None:
    """Serve one queue of a pool from a folder."""
    try:
        first, longest = _pauses_of(backoff, backoff_max)
        options = QueueOptions(
            name=name,
            shard=shard,
            folder=str(Path(folder).absolute()),
            place=_place(name, scheduler, f"{name}-shard-{shard}", host, port, 0, local_directory),
            settings=QueueSettings(
                fsync=fsync,
                max_messages=max_messages or None,
                max_bytes=_bytes_of("max-bytes", max_bytes) or None,
                max_losses=max_deliveries,
                backoff_seconds=first,
                backoff_max_seconds=longest,
                lease_seconds=seconds_of("lease", lease, least=1.0),
                results=results.value,
                result_ttl_seconds=seconds_of("result-ttl", result_ttl, least=1.0),
                result_bytes=_bytes_of("result-bytes", result_bytes),
                result_count=result_count or None,
            ),
            defaults={"retries": retries, "overflow": overflow.value},
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    _run(lambda: QueueHost(options), metrics_port, log_level)


@app.command()
def consumer(
    name: Name,
    scheduler: Scheduler,
    slots: Annotated[int, _option("slots", "Tasks that run at the same time.", min=1)] = 1,
    executor: Annotated[
        Executor, _option("executor", "Where they run: in threads of this process, or in one each.")
    ] = Executor.THREADS,
    drain: Annotated[
        str, _option("drain", "How long running tasks may go on after a stop, before they are given back.")
    ] = "60s",
    batch_size: Annotated[int, _option("batch-size", "Most messages of one lease.", min=1)] = 1000,
    middleware: Annotated[
        str, _option("middleware", "What is called around tasks: package.module:name, commas between.")
    ] = "",
    resources: Annotated[
        str, _option("resources", "What tasks find opened: name=package.module:function, commas between.")
    ] = "",
    host: Host = "",
    port: Port = 0,
    metrics_port: MetricsPort = 0,
    local_directory: LocalDirectory = "",
    log_level: LogLevel = Level.INFO,
    config: Config = None,
) -> None:
    """Consume from all queues of a pool."""
    try:
        options = ConsumerOptions(
            name=name,
            slots=slots,
            executor=executor.value,
            middleware=middleware_of(middleware),
            resources=resources_of(resources),
            batch_size=batch_size,
            drain_seconds=seconds_of("drain", drain),
            place=_place(name, scheduler, socket.gethostname(), host, port, slots, local_directory),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    _run(lambda: ConsumerHost(options), metrics_port, log_level)


def _pauses_of(backoff: str, backoff_max: str) -> tuple[float, float]:
    first, longest = seconds_of("backoff", backoff), seconds_of("backoff-max", backoff_max)
    if first > longest:
        raise ValueError(f"backoff is {backoff!r}, longer than backoff-max, which is {backoff_max!r}")
    return first, longest


def _bytes_of(name: str, text: str) -> int:
    try:
        number = parse_bytes(text)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"{name} is {text!r}; give a number of bytes, or text such as '500MiB' or '5GiB'")
    return int(number)


def _place(name: str, scheduler: str, *rest: Any) -> Place:
    check_name(name)
    if "://" not in scheduler:
        raise ValueError(f"scheduler is {scheduler!r}; give an address such as tcp://HOST:8786")
    return Place(scheduler, *rest)


def _run(make: Callable[[], QueueHost | ConsumerHost], metrics_port: int, log_level: Level) -> None:
    try:
        run(make, metrics_port, log_level.name)
    except (DaskQueueError, ValueError) as error:
        typer.echo(f"daskqueue: {error}", err=True)
        raise typer.Exit(1) from error
