"""The consumers of a queue: how many, who decides, and how they go."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from daskqueue_operator.declare import Option, Rule
from daskqueue_operator.pod_spec import Pod

Mode = Literal["Builtin", "External", "Fixed"]
Executor = Literal["Threads", "Processes"]


def _matches(pattern: str, message: str) -> Rule:
    """Return the rule that a text matches a pattern, which means the same to CEL and to Python."""
    return Rule(f"self.matches('^{pattern}$')", message, lambda text: re.fullmatch(pattern, text) is not None)


A_PATH = _matches(
    "[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*",
    "write it as package.module:name, of a module in the image",
)
A_WORD = _matches("[A-Za-z_][A-Za-z0-9_]*", "a name is of letters, digits and '_'")


@dataclass(frozen=True, slots=True)
class Middleware:
    """Something that is called around tasks."""

    path: Annotated[
        str,
        Option(
            "Where it is in the image, as package.module:name; a class is made without arguments.",
            longest=253,
            rules=(A_PATH,),
        ),
    ]


@dataclass(frozen=True, slots=True)
class TaskResource:
    """Something that tasks find opened."""

    name: Annotated[
        str,
        Option(
            "What tasks call it.",
            longest=63,
            rules=(A_WORD,),
        ),
    ]
    path: Annotated[
        str,
        Option(
            "The function in the image that opens it, as package.module:name.", longest=253, rules=(A_PATH,)
        ),
    ]


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """How many consumers there are, and who decides."""

    RULES: ClassVar = (
        Rule(
            "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "minReplicas must not be greater than maxReplicas",
            lambda scaling: scaling.min_replicas <= scaling.max_replicas,
        ),
    )

    mode: Annotated[
        Mode,
        Option(
            "Who decides how many consumers run: `Builtin` the operator, from the backlog, between minReplicas "
            "and maxReplicas; `Fixed` you, in consumers.replicas; `External` an HPA or KEDA, through `/scale`. "
            "In all of them the operator chooses whom to remove, and lets it finish first."
        ),
    ] = "Builtin"
    min_replicas: Annotated[
        int,
        Option(
            "The least number of consumers; 0 lets all go when there is nothing to do.",
            at_least=0,
            at_most=10_000,
        ),
    ] = 0
    max_replicas: Annotated[int, Option("The greatest number of consumers.", at_least=1, at_most=10_000)] = 5
    target_backlog_per_consumer: Annotated[
        int,
        Option(
            "How many messages, ready or leased, one consumer is thought to manage: with more, one is added.",
            at_least=1,
            at_most=1_000_000_000,
        ),
    ] = 1000
    target_wait_seconds: Annotated[
        int,
        Option(
            "How long a backlog may take to be worked off, in seconds, by the mean time of a task so far.",
            at_least=1,
            at_most=604_800,
        ),
    ] = 30
    idle_seconds_before_zero: Annotated[
        int,
        Option(
            "How long there must be nothing to do, in seconds, before the consumers go down to minReplicas.",
            at_least=0,
            at_most=604_800,
        ),
    ] = 60


def _builtin(consumers: Consumers) -> bool:
    return consumers.autoscaling.mode == "Builtin"


@dataclass(frozen=True, slots=True)
class Consumers:
    """The pods that run the tasks."""

    # These rules also run on what was written, before the nested defaults are there: hence has().
    RULES: ClassVar = (
        Rule(
            "!has(self.replicas) || (has(self.autoscaling) && has(self.autoscaling.mode) && "
            "self.autoscaling.mode != 'Builtin')",
            "consumers.replicas cannot be set in mode Builtin, where the operator decides between minReplicas and "
            "maxReplicas; change those, or set autoscaling.mode to Fixed or External",
            lambda consumers: consumers.replicas is None or not _builtin(consumers),
        ),
        # Without a number the API server cannot answer GET /scale, and no autoscaler would ever begin.
        Rule(
            "has(self.replicas) || !has(self.autoscaling) || !has(self.autoscaling.mode) || "
            "self.autoscaling.mode == 'Builtin'",
            "consumers.replicas must be set in the modes Fixed and External; an autoscaler changes it from there",
            lambda consumers: consumers.replicas is not None or _builtin(consumers),
        ),
    )

    replicas: Annotated[
        int | None,
        Option(
            "How many consumers run, in the modes Fixed and External; `kubectl scale` and autoscalers write it. "
            "An HPA does not begin from 0; KEDA does.",
            at_least=0,
            at_most=10_000,
        ),
    ] = None
    slots: Annotated[int, Option("How many tasks one consumer runs at a time.", at_least=1, at_most=1024)] = 1
    executor: Annotated[
        Executor,
        Option(
            "Where a consumer runs its tasks: in `Threads` of one process, or in `Processes`, one for each slot, for "
            "tasks that keep the interpreter to themselves or may crash it."
        ),
    ] = "Threads"
    batch_size: Annotated[
        int,
        Option(
            "The most messages that a consumer takes from a shard at a time. A consumer whose tasks are slow takes "
            "fewer by itself.",
            at_least=1,
            at_most=1_000_000,
        ),
    ] = 1000
    middleware: Annotated[
        tuple[Middleware, ...],
        Option("What is called around each task, the outermost first.", longest=20, key="path"),
    ] = ()
    task_resources: Annotated[
        tuple[TaskResource, ...],
        Option(
            "What is opened once in each process, such as a connection to a database, for tasks to find as "
            '`daskqueue.current().resources["name"]`.',
            longest=20,
            key="name",
        ),
    ] = ()
    drain_seconds: Annotated[
        int,
        Option(
            "How long a consumer that must go may finish its tasks, in seconds; after that they are given back, and "
            "run again elsewhere.",
            at_least=0,
            at_most=86_400,
        ),
    ] = 60
    autoscaling: Annotated[Autoscaling, Option("How many consumers there are, and who decides.")] = (
        Autoscaling()
    )
    pod: Annotated[Pod, Option("Changes to the pods of the consumers.")] = field(default_factory=Pod)
