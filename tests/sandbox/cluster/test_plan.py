"""Plan and apply: what the server says would happen is what happens."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from conftest import Cluster
from vllm_runbook.cluster import Cluster as Connection
from vllm_runbook.cluster import Conflict, Ref, State, apply, changed, created, delete, marked, plan, release, wait
from vllm_runbook.cluster.stream import Selection
from vllm_runbook.errors import RunbookError

from .conftest import STEP, config_map, deployment, job


def actions(connection: Connection, *items: dict[str, Any]) -> list[str]:
    return [change.action for change in plan(connection, items, STEP).changes]


def test_create_then_nothing_then_update(
    cluster: Cluster, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    first = config_map(cluster.namespace, a="1", b="2")
    planned = plan(connection, [first], STEP)
    assert planned and cluster.kubectl("get", "configmap", "settings", ok=False).endswith('"settings" not found\n')
    apply(connection, planned)
    assert capsys.readouterr().out == f"created ConfigMap {cluster.namespace}/settings\n"

    again = plan(connection, [first], STEP)
    assert not again
    apply(connection, again)
    assert capsys.readouterr().out == "nothing to change: 1 as it should be\n"

    (change,) = plan(connection, [config_map(cluster.namespace, a="9")], STEP).changes
    assert change.action == "update"
    assert [str(field) for field in change.fields] == ["~ data.a: 1 -> 9", "- data.b: 2"]


def test_an_object_stays_the_step_that_created_it(cluster: Cluster, connection: Connection) -> None:
    """A later notebook that applies it again, or changes it, must not make the first one see a change."""
    item = config_map(cluster.namespace, a="1")
    apply(connection, plan(connection, [item], STEP))
    assert not plan(connection, [item], "99_later")
    apply(connection, plan(connection, [config_map(cluster.namespace, a="2")], "99_later"))
    live = connection.get(Ref("ConfigMap", "settings", cluster.namespace))
    assert live["metadata"]["labels"]["runbook.vllm.dev/step"] == STEP


def test_what_the_server_defaults_is_no_difference(cluster: Cluster, connection: Connection) -> None:
    item = deployment(cluster.namespace)
    apply(connection, plan(connection, [item], STEP))
    assert actions(connection, item) == ["unchanged"]
    (change,) = plan(connection, [deployment(cluster.namespace, "busybox:1.37")], STEP).changes
    assert [str(field) for field in change.fields] == [
        "~ spec.template.spec.containers[main].image: busybox:1.36 -> busybox:1.37"
    ]


def test_a_conflict_names_the_other_manager(cluster: Cluster, connection: Connection) -> None:
    item = deployment(cluster.namespace)
    apply(connection, plan(connection, [item], STEP))
    cluster.kubectl("patch", "deployment", "web", "--field-manager=scaler", "-p", '{"spec":{"replicas":2}}')
    assert actions(connection, item) == ["unchanged"]  # we don't own replicas
    with pytest.raises(Conflict) as raised:
        plan(connection, [deployment(cluster.namespace, replicas=1)], STEP)
    assert raised.value.fields == [(".spec.replicas", "scaler")]
    assert ".spec.replicas is owned by scaler" in str(raised.value)
    apply(connection, plan(connection, [deployment(cluster.namespace, replicas=1)], STEP, force=True))
    assert cluster.get("deployment", "web")["spec"]["replicas"] == 1


def test_a_conflict_about_what_is_not_stored_is_none(cluster: Cluster, connection: Connection) -> None:
    """An empty value is left out by the API server: two managers that apply it conflict, and nothing would change."""
    item = deployment(cluster.namespace, container={"env": [{"name": "EMPTY", "value": ""}]})
    connection.apply(marked(item, STEP), manager="somebody")
    assert actions(connection, item) == ["unchanged"]
    other = changed(item, {"spec.template.spec.containers[0].env[0].value": "full"})
    with pytest.raises(Conflict, match="somebody"):
        plan(connection, [other], STEP)


def test_what_helm_installed_from_an_export_is_compared_and_left_alone(
    cluster: Cluster, connection: Connection
) -> None:
    theirs = changed(
        marked(config_map(cluster.namespace, a="1"), STEP), {"metadata.labels[app.kubernetes.io/managed-by]": "Helm"}
    )
    cluster.apply(theirs)
    assert actions(connection, config_map(cluster.namespace, a="1")) == ["unchanged"]
    with pytest.raises(RunbookError, match=r"belongs to Helm[\s\S]*~ data.a: 1 -> 2"):
        plan(connection, [config_map(cluster.namespace, a="2")], STEP)
    assert list(created(connection, ["ConfigMap"], [cluster.namespace])) == []  # nor is it torn down


def test_what_others_created_is_left_alone(cluster: Cluster, connection: Connection) -> None:
    cluster.apply(config_map(cluster.namespace, a="theirs"))
    with pytest.raises(RunbookError, match="did not create it"):
        plan(connection, [config_map(cluster.namespace, a="ours")], STEP)
    assert cluster.get("configmap", "settings")["data"] == {"a": "theirs"}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace, "labels": {"x": "y"}}}
    assert actions(connection, space) == ["keep"]
    assert list(created(connection, ["ConfigMap"], [cluster.namespace])) == []


def test_the_server_refuses_in_the_preview(cluster: Cluster, connection: Connection) -> None:
    bad = changed(deployment(cluster.namespace), {"spec.template.spec.containers[0].imagePullPolicy": "Sometimes"})
    with pytest.raises(RunbookError) as raised:
        plan(connection, [bad], STEP)
    assert "spec.template.spec.containers[0].imagePullPolicy" in str(raised.value)
    assert cluster.get("deployments")["items"] == []


def test_pod_security_is_explained(cluster: Cluster, connection: Connection) -> None:
    cluster.kubectl("label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=restricted")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": cluster.namespace},
        "spec": {"hostNetwork": True, "containers": [{"name": "c", "image": "busybox:1.36"}]},
    }
    with pytest.raises(RunbookError, match="Pod Security level forbids"):
        plan(connection, [pod], STEP)


def test_secret_values_are_never_shown(cluster: Cluster, connection: Connection) -> None:
    def secret(value: str) -> dict[str, Any]:
        meta = {"name": "s", "namespace": cluster.namespace}
        encoded = base64.b64encode(value.encode()).decode()
        return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"token": encoded}}

    apply(connection, plan(connection, [secret("hf_first")], STEP))
    planned = plan(connection, [secret("hf_second")], STEP)
    shown = str(planned) + planned.table().html()
    assert "~ data.token: (hidden) -> (hidden)" in shown
    for value in ("hf_first", "hf_second"):
        assert value not in shown and base64.b64encode(value.encode()).decode() not in shown


def test_a_job_is_replaced_when_it_changes_and_when_it_failed(cluster: Cluster, connection: Connection) -> None:
    failing, working = job(cluster.namespace, "exit 3"), job(cluster.namespace, "exit 0")
    apply(connection, plan(connection, [failing], STEP))
    cluster.wait("job/work", "condition=Failed")
    assert actions(connection, failing) == ["replace"]
    planned = plan(connection, [working], STEP)
    assert planned.changes[0].action == "replace"
    apply(connection, planned)
    cluster.wait("job/work", "condition=Complete")
    assert actions(connection, working) == ["unchanged"]


def test_undo_removes_ours_and_only_ours(cluster: Cluster, connection: Connection) -> None:
    cluster.apply(config_map(cluster.namespace, "theirs"))
    ours = [config_map(cluster.namespace, "ours"), deployment(cluster.namespace)]
    apply(connection, plan(connection, ours, STEP))
    apply(connection, plan(connection, [config_map(cluster.namespace, "other-step")], "03_storage_weights"))
    kinds, spaces = ["ConfigMap", "Deployment"], [cluster.namespace]
    found = list(created(connection, kinds, spaces, STEP))
    assert sorted(ref.name for ref, _ in found) == ["ours", "web"]
    assert [ref.name for ref in delete(connection, found)] == ["web", "ours"]
    assert [ref.name for ref, _ in created(connection, kinds, spaces)] == ["other-step"]
    assert cluster.get("pods")["items"] == []
    assert cluster.get("configmap", "theirs")


def test_deletion_that_hangs_names_its_finalizer(cluster: Cluster, connection: Connection) -> None:
    item = changed(config_map(cluster.namespace), {"metadata.finalizers": ["example.com/hold"]})
    apply(connection, plan(connection, [item], STEP))
    found = list(created(connection, ["ConfigMap"], [cluster.namespace]))
    with pytest.raises(RunbookError, match="example.com/hold"):
        delete(connection, found, seconds=1)
    cluster.kubectl(
        "patch", "configmap", "settings", "--type=json", '-p=[{"op":"remove","path":"/metadata/finalizers"}]'
    )


def test_labels_on_others_objects_can_be_taken_back(cluster: Cluster, connection: Connection) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "cpu-0", "labels": {"example.com/x": "1"}}}
    apply(connection, plan(connection, [node], STEP, adopt=True))
    assert cluster.get("node", "cpu-0")["metadata"]["labels"]["example.com/x"] == "1"
    assert release(connection, Ref("Node", "cpu-0"))
    labels = cluster.get("node", "cpu-0")["metadata"]["labels"]
    assert "example.com/x" not in labels and "kubernetes.io/hostname" in labels
    assert not release(connection, Ref("Node", "cpu-0"))


def test_apply_waits_for_what_is_being_deleted(cluster: Cluster, connection: Connection) -> None:
    item = deployment(cluster.namespace)
    apply(connection, plan(connection, [item], STEP))
    running = lambda state: any(pod["status"].get("phase") == "Running" for pod in state.all("Pod"))  # noqa: E731
    wait(connection, "a pod runs", [Selection("Pod", cluster.namespace)], running, seconds=30)
    cluster.kubectl("delete", "deployment", "web", "--cascade=foreground", "--wait=false")
    assert actions(connection, item) == ["create"]


def test_state_forgets_only_what_was_deleted() -> None:
    """An object that was deleted and made anew under its name stays known."""
    from vllm_runbook.cluster import Seen

    def event(kind: str, uid: str) -> Seen:
        return Seen(kind, None, {"kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": uid}})

    state = State()
    for each in (event("ADDED", "1"), event("ADDED", "2"), event("DELETED", "1")):
        state.take(each)
    assert [item["metadata"]["uid"] for item in state.all("Pod")] == ["2"]
