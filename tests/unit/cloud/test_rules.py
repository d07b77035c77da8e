"""How an order for a reclaim is read."""

from __future__ import annotations

import pytest

from vllm_sandbox.cloud.rules import CLOUDS, parse


def test_each_cloud_has_its_own_notice() -> None:
    assert {name: parse(name)[1].notice_s for name in CLOUDS} == {"aws": 120, "gcp": 30, "azure": 30, "unannounced": 0}


def test_a_shorter_notice_shortens_the_shutdown_in_it() -> None:
    name, rules = parse("gcp 10")
    assert (name, rules.notice_s, rules.shutdown_s, rules.ordinary_s) == ("gcp", 10, 10, 5)
    _, rules = parse("azure 60")
    assert (rules.notice_s, rules.shutdown_s, rules.ordinary_s) == (60, 15, 12)


@pytest.mark.parametrize("order", ["", "aws soon", "aws -1", "aws 99999", "oracle"])
def test_nonsense_is_refused_with_what_is_allowed(order: str) -> None:
    with pytest.raises(ValueError, match="aws, gcp|seconds from 0"):
        parse(order)
