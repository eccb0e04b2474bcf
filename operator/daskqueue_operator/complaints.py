"""What pods themselves say about why they do not serve: the kubelet keeps only that their answer was 503."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

import httpx2

from daskqueue_operator import labels as lb
from daskqueue_operator.conditions.troubles import is_slow
from daskqueue_operator.kinds import Manifest
from daskqueue_operator.names import METRICS_PORT

DEADLINE_SECONDS = 1.0
LONGEST = 300  # characters of an answer


async def complaints(pods: Iterable[Manifest], now: datetime, port: int = METRICS_PORT) -> dict[str, str]:
    """Return what hosts answer to ``/readyz`` that have not been ready for long, by the name of their pod.

    Args:
        pods: the pods of a queue.
        now: the time, with its zone.
        port: where hosts listen.
    """
    slow = [pod for pod in pods if is_slow(pod, now) and _is_host(pod) and pod["status"].get("podIP")]
    if not slow:
        return {}
    async with httpx2.AsyncClient(timeout=DEADLINE_SECONDS, trust_env=False) as client:
        answers = await asyncio.gather(*(_answer(client, pod["status"]["podIP"], port) for pod in slow))
    return {pod["metadata"]["name"]: answer for pod, answer in zip(slow, answers, strict=True) if answer}


async def _answer(client: httpx2.AsyncClient, address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    try:
        response = await client.get(f"http://{host}:{port}/readyz")
    except httpx2.HTTPError:
        return ""
    return (
        " ".join(response.text.split())[:LONGEST]
        if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE
        else ""
    )


def _is_host(pod: Manifest) -> bool:
    return pod["metadata"]["labels"].get(lb.COMPONENT) in ("shard", "consumer")
