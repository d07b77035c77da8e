"""ServiceAccounts with exactly the rights of notebooks, as ``runbook roles`` prints them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from conftest import Cluster

#: Parameters with which nothing is rehearsed.
LIGHT = ("-p", "rehearsal.load=false", "-p", "rehearsal.outage=false", "-p", "rehearsal.crowd=false")


@dataclass(frozen=True)
class Accounts:
    """Makes accounts with the rights of notebooks, as an administrator does it."""

    cluster: Cluster
    directory: Path

    def kubeconfig(
        self,
        *notebooks: str,
        name: str,
        options: Sequence[str] = LIGHT,
        without: tuple[str, str] | None = None,
    ) -> Path:
        """Apply ``runbook roles`` and return a kubeconfig with the account's token, and no other credentials.

        Args:
            options: further arguments: the parameters that the notebooks run with.
            without: a verb and a resource that is taken out of the roles.
        """
        done = self.cluster.runbook("roles", *notebooks, *options, "--service-account", name)
        assert done.returncode == 0, done.stderr
        items = [item for item in yaml.safe_load_all(done.stdout) if item]
        if without:
            items = [_without(item, *without) for item in items]
        replace(self.cluster, namespace="").apply(items)  # in several namespaces
        document = yaml.safe_load(self.cluster.kubeconfig.read_text())
        token = self.cluster.kubectl("-n", "llm", "create", "token", name, "--duration=1h").strip()
        document["users"][0]["user"] = {"token": token}
        file = self.directory / f"{name}.kubeconfig"
        file.write_text(yaml.safe_dump(document))
        return file


def _without(item: dict[str, Any], verb: str, resource: str) -> dict[str, Any]:
    """Roles with one right less: the resource gets a rule of its own."""
    rules = []
    for rule in item.get("rules", []):
        if resource in rule["resources"] and verb in rule["verbs"]:
            rest = [each for each in rule["resources"] if each != resource]
            rules += [{**rule, "resources": rest}] if rest else []
            rules.append({**rule, "resources": [resource], "verbs": [each for each in rule["verbs"] if each != verb]})
        else:
            rules.append(rule)
    return {**item, "rules": rules} if "rules" in item else item
