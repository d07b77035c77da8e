"""Reading kubectl's log, and what a table of listings shows."""

from __future__ import annotations

import pytest

from vllm_runbook.plots import Timed
from vllm_runbook.steps.list_ways import requests_in
from vllm_runbook.steps.listing import Listing

#: kubectl 1.36 -v=8, shortened.
NEW = """\
I1125 02:27:39.233281   26971 loader.go:407] Config loaded from file:  /etc/me/config
I1125 02:27:39.250712   26971 helper.go:113] "Request Body" body=""
I1125 02:27:39.250808  1 round_trippers.go:527] "Request" verb="GET" url="https://api/api/v1/pods?limit=500" headers=<
\tAccept: application/json;as=Table;v=v1;g=meta.k8s.io
\tUser-Agent: kubectl/v1.36.3 (linux/amd64) kubernetes/abc
 >
I1125 02:27:39.253388   26971 round_trippers.go:632] "Response" status="200 OK" headers=<
\tContent-Type: application/json
\tVary: Accept
 > milliseconds=2
I1125 02:27:39.253443   26971 helper.go:113] "Response Body" body="{\\"kind\\":\\"Table\\"}"
"""
#: kubectl 1.32 -v=8, shortened; headers come in any order.
OLD = """\
I1125 02:43:31.901864   12478 loader.go:402] Config loaded from file:  /etc/me/config
I1125 02:43:31.904742   12478 round_trippers.go:470] GET https://api/api/v1/pods?limit=500
I1125 02:43:31.904750   12478 round_trippers.go:476] Request Headers:
I1125 02:43:31.904755   12478 round_trippers.go:480]     User-Agent: kubectl/v1.32.4 (linux/amd64) kubernetes/abc
I1125 02:43:31.904757   12478 round_trippers.go:480]     Accept: application/json;as=Table;v=v1;g=meta.k8s.io
I1125 02:43:31.910000   12478 round_trippers.go:581] Response Status: 200 OK in 5 milliseconds
I1125 02:43:31.910010   12478 round_trippers.go:584] Response Headers:
I1125 02:43:31.910012   12478 round_trippers.go:587]     Vary: Accept
"""
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize("log", [NEW, OLD], ids=["1.36", "1.32"])
def test_requests_are_read_from_either_form_of_the_log(log: str) -> None:
    page = log.replace("limit=500", "limit=500&continue=abc%3D")
    assert list(requests_in(log + page)) == [
        ("https://api/api/v1/pods?limit=500", TABLE),
        ("https://api/api/v1/pods?limit=500&continue=abc%3D", TABLE),
    ]


def test_a_log_of_another_form_has_no_requests() -> None:
    assert list(requests_in("NAME READY\npod-1 1/1\n")) == []


def test_the_table_says_what_was_packed_and_what_did_not_work() -> None:
    ways = {
        "kubectl": Timed("kubectl", "get pods", 1234.5, 139_122, packed=True),
        "server_side": Timed("kubectl", "get pods --server-side", note="unknown flag: --server-side"),
    }
    table = Listing(1001, 5, ways).table()
    assert table.title == "Listing 1,001 pods (median of 5, warm)"
    assert table.rows == [
        ("get pods", "1,234", "139,122 (gzip)", ""),
        ("get pods --server-side", "", "", "unknown flag: --server-side"),
    ]
