"""Retries of steps: only failures that may pass by themselves are retried."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import dagster as dg

from dino_assets.errors import (
    DropsFailedError,
    LocalEntryNotFoundError,
    StoreUnavailableError,
)

# Waits of about 5, 15 and 35 s: enough for a server to restart. Single requests are already repeated for a
# minute and more (`RequestLimits`, `TransferRetries`). The policy is not set on the assets themselves:
# Dagster would then retry every failure, for example an invalid checkpoint.
POLICY = dg.RetryPolicy(
    max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)

P = ParamSpec("P")
R = TypeVar("R")


def is_worth_trying_again(err: BaseException) -> bool:
    """Check whether a failure may pass by itself: the store or the Hub does not answer.

    A failure does not pass if the Hub is switched off by a setting, or sent wrong bytes twice. If several
    drops failed, one drop whose failure may pass is enough, because finished drops are reused.
    """
    if isinstance(err, DropsFailedError):
        return any(map(is_worth_trying_again, err.failures.values()))
    if isinstance(err, LocalEntryNotFoundError):
        return err.may_pass
    return isinstance(err, StoreUnavailableError)


def tried_again(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function of a step (asset, check, IO manager) so that failures that may pass are retried."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
            with _asking_for_retries(args):
                yield from function(*args, **kwargs)

        return cast("Callable[P, R]", generate)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with _asking_for_retries(args):
            return function(*args, **kwargs)

    return call


@contextmanager
def _asking_for_retries(args: tuple[object, ...]) -> Iterator[None]:
    try:
        yield
    except Exception as err:
        if not is_worth_trying_again(err):
            raise
        raise dg.RetryRequested(
            POLICY.max_retries, POLICY.calculate_delay(_count_attempts(args) + 1)
        ) from err


def _count_attempts(args: tuple[object, ...]) -> int:
    for context in args:
        if isinstance(context, dg.InputContext | dg.OutputContext):
            return context.step_context.previous_attempt_count
    return dg.OpExecutionContext.get().retry_number
