"""The API server, as far as the operator writes to it or asks it."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import httpx2
from lightkube.core.async_client import AsyncClient
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.types import CascadeType, PatchType

from daskqueue_operator import labels as lb
from daskqueue_operator import names
from daskqueue_operator.differences import difference
from daskqueue_operator.kinds import DASK_QUEUE, DEPLOYMENT, EVENT, STORAGE_CLASS, Kind, Manifest, kind_of
from daskqueue_operator.plan import SCALING, Action, Verb

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
NOT_FOUND = 404


class NameTakenError(Exception):
    """An object that the operator wants to make is there, and somebody else made it.

    Args:
        action: what was to be made.
    """

    def __init__(self, action: Action) -> None:
        super().__init__(
            f"{action.kind.kind} {action.name} is there already and was not made by this operator: "
            "remove it, or give the DaskQueue another name"
        )


class Cluster:
    """One connection to the API server.

    Args:
        client: lightkube's client.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def carry_out(self, action: Action, namespace: str) -> Manifest | None:
        """Do what a plan says, and return what an apply made of the object.

        Raises:
            HTTPStatusError: the API server refused it.
            NameTakenError: the object to be made belongs to somebody else.
        """
        match action.verb, action.manifest:
            case Verb.CREATE, dict(manifest):
                return await self._create(action, manifest, namespace)
            case Verb.APPLY, dict(manifest):
                return await self.apply(manifest)
            case Verb.HAND_OVER, dict(patch):
                await self.set_number(namespace, action.name, patch["spec"]["replicas"])
            case Verb.GROW, dict(patch):
                await self.merge(action.kind, namespace, action.name, patch)
            case Verb.REPLACE, _:
                await self.delete(action.kind, namespace, action.name, orphan=True)
            case Verb.DELETE, _:
                await self.delete(action.kind, namespace, action.name)
        return None

    async def _create(self, action: Action, manifest: Manifest, namespace: str) -> Manifest | None:
        """Apply something new, unless it is there: ours already, or another's, whom an apply by force would rob."""
        there = await self.get(action.kind, namespace, action.name)
        if there is not None and not _is_ours(there):
            raise NameTakenError(action)
        if there is not None and (
            "deletionTimestamp" in there["metadata"] or not difference(manifest, there)
        ):
            return None
        return await self.apply(manifest)

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Return an object; None if it is not there."""
        try:
            found = await self._client.get(_resource(kind), name, namespace=namespace)
        except httpx2.HTTPStatusError as error:
            if error.response.status_code == NOT_FOUND:
                return None
            raise
        return cast("Manifest", found)

    async def apply(self, manifest: Manifest, *, manager: str = lb.MANAGER) -> Manifest:
        """Apply a manifest on the server, and take the fields that others have changed."""
        metadata = manifest["metadata"]
        applied = await self._client.patch(
            _resource(kind_of(manifest)), metadata["name"], manifest, namespace=metadata["namespace"],
            patch_type=PatchType.APPLY, field_manager=manager, force=True,
        )  # fmt: skip
        return cast("Manifest", applied)

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        """Change some fields of an object; None removes a field. Return the object."""
        changed = await self._client.patch(
            _resource(kind),
            name,
            patch,
            namespace=namespace,
            patch_type=PatchType.MERGE,
            field_manager=lb.MANAGER,
        )
        return cast("Manifest", changed)

    async def scale_consumers(self, namespace: str, name: str, replicas: int) -> None:
        """Set how many consumers the Deployment of a DaskQueue has.

        Args:
            namespace: namespace of the DaskQueue.
            name: name of the DaskQueue.
            replicas: how many pods.
        """
        await self.set_number(namespace, names.consumer(name), replicas)

    async def delete(self, kind: Kind, namespace: str, name: str, *, orphan: bool = False) -> None:
        """Delete an object, without what belongs to it if *orphan*; it may be gone already."""
        try:
            cascade = CascadeType.ORPHAN if orphan else CascadeType.BACKGROUND
            await self._client.delete(_resource(kind), name, namespace=namespace, cascade=cascade)
        except httpx2.HTTPStatusError as error:
            if error.response.status_code != NOT_FOUND:
                raise

    async def write_status(self, namespace: str, name: str, status: Manifest) -> int | None:
        """Write the status of a DaskQueue, without what is no longer in it.

        Returns:
            the object's new version; None if the DaskQueue is gone.
        """
        body = {
            "apiVersion": DASK_QUEUE.api_version, "kind": DASK_QUEUE.kind,
            "metadata": {"name": name, "namespace": namespace}, "status": status,
        }  # fmt: skip
        try:
            changed = await self._client.patch(
                _resource(DASK_QUEUE).Status, name, body, namespace=namespace,
                patch_type=PatchType.APPLY, field_manager=lb.MANAGER, force=True,
            )  # fmt: skip
        except httpx2.HTTPStatusError as error:
            if error.response.status_code == NOT_FOUND:
                return None
            raise
        return int(cast("Manifest", changed)["metadata"]["resourceVersion"])

    async def write_event(self, event: Manifest) -> None:
        """Create an Event."""
        create: Any = self._client.create  # its overloads know no kinds made at run time
        await create(_resource(EVENT)(event), namespace=event["metadata"]["namespace"])

    async def has(self, kind: Kind, namespace: str) -> bool:
        """Return whether the cluster has the API of an optional kind."""
        try:
            async for _ in self._client.list(_resource(kind), namespace=namespace, chunk_size=1):
                break
        except httpx2.HTTPStatusError as error:
            if error.response.status_code == NOT_FOUND:
                return False
            raise
        return True

    async def lists(self, kind: Kind) -> bool:
        """Return whether the API server names a kind where kopf looks for what it can watch.

        That is so a while after its definition was made, and later than its objects can be asked for.
        """
        http = cast("Any", self._client)._client._client  # noqa: SLF001  lightkube itself asks for objects only
        groups = (await http.get("/apis")).raise_for_status().json()["groups"]
        if kind.group not in {group["name"] for group in groups}:
            return False
        answer = await http.get(f"/apis/{kind.api_version}")
        if answer.status_code == NOT_FOUND:
            return False
        return kind.plural in {known["name"] for known in answer.raise_for_status().json()["resources"]}

    async def generations(self, namespace: str) -> dict[tuple[str, str], int]:
        """Return the generation of each DaskQueue of a namespace, by namespace and name."""
        found = {}
        async for body in self._client.list(_resource(DASK_QUEUE), namespace=namespace):
            metadata = cast("Manifest", body)["metadata"]
            found[metadata["namespace"], metadata["name"]] = int(metadata["generation"])
        return found

    async def storage_classes(self) -> dict[str, bool]:
        """Return the names of the storage classes, and whether each is a default."""
        found = {}
        async for body in self._client.list(_global(STORAGE_CLASS)):
            metadata = cast("Manifest", body)["metadata"]
            found[metadata["name"]] = metadata.get("annotations", {}).get(DEFAULT_CLASS) == "true"
        return found

    async def set_number(self, namespace: str, name: str, replicas: int) -> None:
        """Set how many pods a Deployment has, as the field manager that this number belongs to."""
        number = {
            "apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind,
            "metadata": {"name": name, "namespace": namespace}, "spec": {"replicas": replicas},
        }  # fmt: skip
        await self.apply(number, manager=SCALING)


def _is_ours(body: Manifest) -> bool:
    return any(entry.get("manager") == lb.MANAGER for entry in body["metadata"].get("managedFields", []))


@cache
def _resource(kind: Kind) -> Any:
    version = kind.api_version.rpartition("/")[2]
    return create_namespaced_resource(kind.group, version, kind.kind, kind.plural)


@cache
def _global(kind: Kind) -> Any:
    version = kind.api_version.rpartition("/")[2]
    return create_global_resource(kind.group, version, kind.kind, kind.plural)
