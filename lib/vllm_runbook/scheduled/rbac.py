"""``runbook roles``: the RBAC objects of notebooks as YAML, for an administrator to apply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import yaml

from ..cluster import Object
from ..errors import RunbookError
from ..params import Platform
from ..permissions import TITLES
from ..permissions import roles as rbac
from ..steps.weights import namespace_object

#: Notebooks of ``runbook verify``.
VERIFY = ("00_preflight", "09_diagnosis", "30_verify")
#: There in every cluster.
_BUILT_IN = ("default", "kube-system", "kube-public", "kube-node-lease")
_INTRODUCTION = """\
# Who applies this must have every right in it, or the verbs escalate and bind on roles: a cluster's administrator.
#   runbook roles … | kubectl apply -f -
"""
_ADMINISTRATOR = """\
# {step} installs programs with wide roles of their own, so it may escalate: whoever has this account can get any right.
# Let an administrator run it once, or install those programs in your own way (install: existing).
"""


def steps_of(words: Sequence[str]) -> list[str]:
    """Notebooks by number or name; ``verify`` is all of its own; none: every notebook.

    Raises:
        RunbookError: there is no such notebook.
    """
    found: list[str] = []
    for word in words or TITLES:
        plain = word.removesuffix(".ipynb").rpartition("/")[2]
        if plain == "verify":
            found += VERIFY
            continue
        matches = [name for name in TITLES if plain == name or (plain.isdigit() and int(plain) == int(name[:2]))]
        if not matches:
            raise RunbookError(f"There is no notebook {word}", why=f"there are {', '.join(TITLES)}, and verify")
        found += matches
    return list(dict.fromkeys(found))


def account_name(step: str) -> str:
    """ServiceAccount and roles of a notebook: ``runbook-04-deploy-vllm``."""
    return f"runbook-{step.replace('_', '-')}"


def spaces(steps: Iterable[str], platform: Platform, home: str) -> list[Object]:
    """The namespaces that the objects are in, but for those that every cluster has."""
    names = dict.fromkeys([home, *rbac.namespaces(steps, platform)])
    there = platform.model_copy(update={"namespace": platform.models_namespace})
    secured = {each.namespace: namespace_object(each) for each in (platform, there)}
    plain = {name: {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names}
    return [secured.get(name, item) for name, item in plain.items() if name not in _BUILT_IN]


def objects(step: str, platform: Platform, account: str, home: str) -> list[Object]:
    """Roles and bindings of one notebook, without the account."""
    return rbac.roles(step, platform, account_name(step), account, home)


def text(steps: Sequence[str], platform: Platform, account: str | None, home: str) -> str:
    """All of it as YAML: namespaces, then for each notebook its account, roles and bindings.

    Args:
        account: one ServiceAccount for all; None: one for each.
        home: namespace of the accounts.
    """
    parts = [_INTRODUCTION + _yaml(spaces(steps, platform, home))]
    seen: set[str] = set()
    for step in steps:
        name = account or account_name(step)
        items = [] if name in seen else [rbac.account(name, home)]
        seen.add(name)
        items += objects(step, platform, name, home)
        remark = _ADMINISTRATOR.format(step=step) if rbac.makes_administrator(step, platform) else ""
        parts.append(f"# {step}: {TITLES[step]}\n{remark}{_yaml(items)}")
    return "---\n".join(parts)


def _yaml(items: Iterable[Object]) -> str:
    return "---\n".join(yaml.dump(item, Dumper=_Plain, sort_keys=False) for item in items)


class _Plain(yaml.SafeDumper):
    """Without anchors, which equal parts would become."""

    def ignore_aliases(self, data: object) -> bool:
        return True
