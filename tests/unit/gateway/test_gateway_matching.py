"""Which rule takes a request: matches and their precedence, hostnames, durations."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_sandbox.gateway.matching import Asked, Match, Unsupported, hostnames_meet, matches_of, seconds
from vllm_sandbox.gateway.table import Entry, Rule, Table


def asked(path: str, method: str = "GET", query: dict[str, str] | None = None, **headers: str) -> Asked:
    return Asked(path, method, headers, query or {})


@pytest.mark.parametrize(
    ("prefix", "path", "holds"),
    [
        ("/v1", "/v1", True),
        ("/v1", "/v1/", True),
        ("/v1", "/v1/models", True),
        ("/v1", "/v10", False),
        ("/v1/", "/v1", True),
        ("/", "/anything", True),
        ("/V1", "/v1", False),
    ],
)
def test_a_prefix_ends_at_a_slash(prefix: str, path: str, holds: bool) -> None:
    assert Match(prefix).holds(asked(path)) is holds


def test_every_part_of_a_match_must_hold() -> None:
    (match,) = matches_of(
        {
            "matches": [
                {
                    "path": {"type": "Exact", "value": "/v1/models"},
                    "method": "GET",
                    "headers": [{"name": "X-Canary", "value": "always"}, {"name": "x-canary", "value": "ignored"}],
                    "queryParams": [{"name": "a", "value": "1"}],
                }
            ]
        }
    )
    fine: dict[str, Any] = {"query": {"a": "1"}, "x-canary": "always"}
    assert match.holds(asked("/v1/models", **fine))
    assert not match.holds(asked("/v1/models/x", **fine))
    assert not match.holds(asked("/v1/models", "POST", **fine))
    assert not match.holds(asked("/v1/models", **{**fine, "x-canary": "never"}))
    assert not match.holds(asked("/v1/models", **{**fine, "query": {}}))


def test_without_matches_a_rule_takes_everything() -> None:
    assert [match.holds(asked("/x")) for match in matches_of({})] == [True]


def test_what_can_not_be_done_is_said() -> None:
    with pytest.raises(Unsupported, match="RegularExpression"):
        list(matches_of({"matches": [{"path": {"type": "RegularExpression", "value": "/v[0-9]"}}]}))


def table(*entries: tuple[str, str, Match, str]) -> Table:
    """Entries of hostname, route, match and creation time."""
    return Table(
        Entry(80, host, match, Rule(route, ()), (created, route, 0)) for host, route, match, created in entries
    )


def test_precedence_is_the_specifications() -> None:
    found = table(
        ("", "prefix", Match("/v1"), "2026"),
        ("", "longer", Match("/v1/chat"), "2026"),
        ("", "exact", Match("/v1/chat", exact=True), "2027"),
        ("", "method", Match("/v1", method="POST"), "2027"),
        ("", "header", Match("/v1", headers=(("x", "1"),)), "2027"),
        ("", "older", Match("/v2"), "2025"),
        ("", "younger", Match("/v2"), "2026"),
    )

    def route(*args: Any, **more: Any) -> str:
        rule = found.find(80, "host", asked(*args, **more))
        return rule.route if rule else ""

    assert route("/v1/models") == "prefix"
    assert route("/v1/chat/completions") == "longer"
    assert route("/v1/chat") == "exact"
    assert route("/v1/models", "POST", x="1") == "method"
    assert route("/v1/models", x="1") == "header"
    assert route("/v2") == "older"
    assert route("/metrics") == ""
    assert found.find(81, "host", asked("/v1")) is None


def test_the_narrowest_hostname_goes_first() -> None:
    found = table(
        ("", "any", Match("/"), "2025"),
        ("*.example.com", "wild", Match("/"), "2025"),
        ("*.a.example.com", "narrower", Match("/"), "2025"),
        ("b.a.example.com", "whole", Match("/"), "2025"),
    )
    hosts = {
        "b.a.example.com:8080": "whole",
        "C.a.example.com": "narrower",
        "x.example.com": "wild",
        "example.com": "any",
    }
    for host, route in hosts.items():
        rule = found.find(80, host, asked("/"))
        assert rule and rule.route == route, host


def test_hostnames_of_listener_and_route_meet() -> None:
    assert hostnames_meet("", "a.example.com") == "a.example.com"
    assert hostnames_meet("*.example.com", "a.example.com") == "a.example.com"
    assert hostnames_meet("a.example.com", "*.example.com") == "a.example.com"
    assert hostnames_meet("a.example.com", "b.example.com") is None


@pytest.mark.parametrize(
    ("text", "value"), [("30s", 30), ("1h2m3s", 3723), ("250ms", 0.25), ("0s", None), (None, None)]
)
def test_durations(text: str | None, value: float | None) -> None:
    assert seconds(text) == value
