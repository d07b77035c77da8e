"""Images: containerd's words behind ErrImagePull and ImagePullBackOff."""

from __future__ import annotations

import pytest

from .recorded import codes, diagnosed, event, pod, status

IMAGE = "vllm/vllm-openai:v0.32.0"
PULL = f'failed to pull and unpack image "docker.io/{IMAGE}": failed to resolve reference "docker.io/{IMAGE}": '
MESSAGES = [
    ("image-name", PULL + f"docker.io/{IMAGE}: not found"),
    ("image-name", 'failed to parse image: couldn\'t parse image name "a b": invalid reference format'),
    (
        "image-auth",
        PULL + "pull access denied, repository does not exist or may require authorization: server message: "
        "insufficient_scope: authorization failed",
    ),
    (
        "image-auth",
        PULL + "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
        "https://ghcr.io/token?scope=repository: 401 Unauthorized",
    ),
    ("image-auth", PULL + "unexpected status from HEAD request to https://registry/v2/x: 403 Forbidden"),
    (
        "image-rate-limit",
        "failed to copy: httpReadSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/x: 429 "
        "Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit.",
    ),
    ("image-registry", PULL + "failed to do request: Head https://registry-1.docker.io/v2/x: dial tcp: i/o timeout"),
]


@pytest.mark.parametrize(("code", "message"), MESSAGES, ids=[code for code, _ in MESSAGES])
@pytest.mark.parametrize("prefix", ["", f'Back-off pulling image "{IMAGE}": ErrImagePull: '])
def test_the_registrys_answer_decides(code: str, message: str, prefix: str) -> None:
    waiting = {"reason": "ImagePullBackOff" if prefix else "ErrImagePull", "message": prefix + message}
    (found,) = diagnosed(pod(phase="Pending", statuses=[status(waiting=waiting)])).findings
    assert found.code == code and found.severity == "error"


def test_an_older_kubelets_back_off_is_explained_by_its_event() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{IMAGE}"'}
    stuck = pod(phase="Pending", statuses=[status(waiting=waiting)])
    assert codes(stuck, event(stuck, "Failed", f'Failed to pull image "{IMAGE}": {MESSAGES[2][1]}')) == ["image-auth"]


def test_the_images_own_name_says_nothing() -> None:
    image = "registry.example.com/ratelimit/forbidden:404"
    container = {"image": image}
    waiting = {
        "reason": "ErrImagePull",
        "message": f'failed to pull image "{image}": dial tcp 10.0.0.1:443: i/o timeout',
    }
    assert codes(pod(container=container, statuses=[status(waiting=waiting)])) == ["image-registry"]


def test_a_pull_that_takes_its_time_is_no_finding() -> None:
    creating = pod(age=300, phase="Pending", statuses=[status(waiting={"reason": "ContainerCreating"})])
    assert codes(creating) == []
    old = pod(age=3000, phase="Pending", statuses=[status(waiting={"reason": "ContainerCreating"})])
    assert codes(old) == ["stuck-creating"]
