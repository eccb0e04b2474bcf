"""What a service account was granted, and what the API server saw it use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple


class Right(NamedTuple):
    """A verb on a resource."""

    group: str
    resource: str
    verb: str

    def __str__(self):
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


@dataclass(frozen=True)
class Account:
    """A service account."""

    namespace: str
    name: str

    @property
    def user(self):
        """Its name in the audit log."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"


def granted(kube, who):
    """Return all rights that cluster roles give to a service account."""
    subject = {"kind": "ServiceAccount", "name": who.name, "namespace": who.namespace}
    roles = [
        binding["roleRef"]["name"]
        for binding in kube.list("clusterrolebindings")
        if subject in binding.get("subjects", [])
    ]
    rules = [rule for role in roles for rule in kube.get("clusterrole", role)["rules"]]
    return {
        Right(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def lines_of(log):
    """Yield the lines of an audit log, those of the parts that were rotated away too (audit-<time>.log)."""
    for part in sorted(log.parent.glob(f"{log.stem}*{log.suffix}")):
        with part.open() as opened:
            yield from opened


def seen(log, who):
    """Return the rights that a service account used, and those that it was refused.

    Args:
        log: the file that the API server writes.
        who: the service account.
    """
    used, refused = set(), set()
    for line in lines_of(log):
        if who.user not in line:
            continue
        event = json.loads(line)
        about = event.get("objectRef", {})
        if event["user"]["username"] != who.user or "resource" not in about:
            continue
        decision = event.get("annotations", {}).get("authorization.k8s.io/decision")
        (refused if decision == "forbid" else used).update(_rights(event, about))
    return used, refused


def _rights(event, about):
    resource = about["resource"] + (f"/{about['subresource']}" if about.get("subresource") else "")
    verbs = [event["verb"]]
    if event["verb"] == "patch" and event.get("responseStatus", {}).get("code") == 201:
        verbs.append("create")  # a server-side apply of something that was not there
    return {Right(about.get("apiGroup", ""), resource, verb) for verb in verbs}
