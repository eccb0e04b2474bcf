"""Functions that know their pool: ``@pool.task``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from daskqueue.functions import reference_of

if TYPE_CHECKING:
    from daskqueue.jobs.handles import Jobs
    from daskqueue.jobs.job import Job
    from daskqueue.pool import QueuePool
    from daskqueue.submitting.options import Choices

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A function of a pool: called, it runs here; submitted, it runs on a consumer.

    Workers import it by its name where they can; where they cannot (in a notebook, say) the function travels.

    Args:
        function: what is run.
        pool: where it is submitted to.
        choices: the options of its messages; see ``QueuePool.options``.
    """

    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[P, R], pool: QueuePool, choices: Choices) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.pool = pool.options(**choices) if choices else pool
        self._root: Task[P, R] = self

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        return self.function(*args, **kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Put one call into the pool; see ``QueuePool.submit``."""
        return cast("Job[R]", self.pool.submit(self._root, *args, **kwargs))

    def map(
        self, *iterables: Iterable[Any], batch_size: int = 1000, window: int | None = None, **kwargs: Any
    ) -> Jobs[R]:
        """Put one call for each of the zipped arguments; see ``QueuePool.map``."""
        return cast(
            "Jobs[R]",
            self.pool.map(self._root, *iterables, batch_size=batch_size, window=window, **kwargs),
        )

    def options(self, **choices: Unpack[Choices]) -> Task[P, R]:
        """Return the same task with other options; see ``QueuePool.options``."""
        other = type(self)(self.function, self.pool, choices)
        other._root = self._root  # noqa: SLF001  the same task
        return other

    def __reduce__(self) -> str | tuple[Any, ...]:
        if reference_of(self) is not None:
            return self.__qualname__
        return type(self), (self.function, self.pool, {})

    def __repr__(self) -> str:
        return f"<Task {self.__qualname__} of {self.pool.name!r}>"


class AsyncTask(Task[P, R]):
    """The task of an ``async def`` function; consumers know such a one by its call."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]  # awaited first
        """Run the function here and now."""
        return cast("R", await cast("Any", self.function(*args, **kwargs)))


class Decorator(Protocol):
    """Makes functions tasks of one pool."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


def task_of(function: Callable[..., Any], pool: QueuePool, choices: Choices) -> Any:
    """Return *function* as a task of a pool.

    Raises:
        TypeError: it cannot be called.
    """
    if not callable(function):
        raise TypeError(f"task wants a function, not {function!r:.80}")
    kind = AsyncTask if inspect.iscoroutinefunction(function) else Task
    return kind(function, pool, choices)
