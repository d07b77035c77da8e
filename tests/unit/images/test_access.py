"""Registries that refuse, in containerd's words, and what makes them give."""

from __future__ import annotations

import base64
import json

import pytest

from vllm_sandbox.images import access
from vllm_sandbox.images.access import PullRefused, pull
from vllm_sandbox.images.registry import UnknownImage

PRIVATE = "registry.sandbox.internal/private/vllm/vllm-openai:v0.32.0"
LIMITED = "registry.sandbox.internal/limited/vllm/vllm-openai:v0.32.0"


def login(password, server="registry.sandbox.internal", *, encoded=False):
    entry = {"username": "robot", "password": password}
    if encoded:
        entry = {"auth": base64.b64encode(f"robot:{password}".encode()).decode()}
    return {"auths": {server: entry}}


@pytest.mark.parametrize("reference", [PRIVATE, LIMITED])
@pytest.mark.parametrize("encoded", [False, True])
def test_a_login_gets_the_image(reference, encoded):
    assert pull(reference, [{}, login("sandbox-pull", encoded=encoded)]).name == "vllm/vllm-openai"


@pytest.mark.parametrize(
    ("configs", "token"),
    [([], "anonymous"), ([login("old")], "oauth"), ([login("sandbox-pull", "registry.example.com")], "anonymous")],
)
def test_a_private_registry_refuses_others(configs, token):
    with pytest.raises(PullRefused, match=f"failed to authorize: failed to fetch {token} token: .*: 401 Unauthorized"):
        pull(PRIVATE, configs)


def test_a_limited_registry_counts():
    with pytest.raises(PullRefused, match="429 Too Many Requests .*toomanyrequests: You have reached your"):
        pull(LIMITED, [])


def test_behind_them_are_the_same_images_and_no_others():
    with pytest.raises(UnknownImage):
        pull("registry.sandbox.internal/private/nobody/nothing:1", [login("sandbox-pull")])
    assert pull("vllm/vllm-openai:v0.32.0", []).name == "vllm/vllm-openai"


def test_a_secret_that_is_none():
    assert access.config_of({"data": {".dockerconfigjson": base64.b64encode(b"[1]").decode()}}) == {}
    assert access.config_of({}) == {}
    config = login("x")
    data = base64.b64encode(json.dumps(config).encode()).decode()
    assert access.config_of({"data": {".dockerconfigjson": data}}) == config
