"""Ways of doing the same thing, as bars: their order, their numbers, and those without one."""

from __future__ import annotations

import math

import pytest

from vllm_runbook.plots import Timed, alt_text, timed_figure

ROWS = [
    Timed("kubectl", "get pods", 344.4, 139_122, packed=True),
    Timed("kubectl", "get pods --server-side", note="unknown flag"),
    Timed("library", "selector", 4.2, 60_000),
    Timed("kubectl", "only starts", 40),
]


def test_bars_keep_the_order_and_have_their_numbers() -> None:
    fig = timed_figure(ROWS, "Listing")
    assert list(fig.layout.yaxis.categoryarray) == ["get pods", "selector", "only starts"]
    assert {trace.name: list(trace.x) for trace in fig.data} == {"kubectl": [344.4, 40], "library": [4.2]}
    assert list(fig.data[0].text) == ["344 ms, 136 KiB (gzip)", "40 ms"]
    assert len({trace.marker.color for trace in fig.data}) == 2


def test_the_axis_is_logarithmic_and_has_room_for_every_bar() -> None:
    fig = timed_figure(ROWS, "Listing")
    low, high = fig.layout.xaxis.range
    assert fig.layout.xaxis.type == "log"
    assert low < math.log10(4.2) and high > math.log10(344.4)


def test_the_words_have_every_time() -> None:
    words = alt_text(timed_figure(ROWS, "Listing"))
    assert words == "Listing. get pods: 344 ms, 136 KiB (gzip); selector: 4 ms, 59 KiB; only starts: 40 ms."
    assert alt_text(timed_figure([], "Listing")) == "Listing. Nothing was measured."


@pytest.mark.parametrize(
    ("sent", "size"),
    [(None, ""), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (60 * 2**20, "60 MiB"), (2**32, "4096 MiB")],
)
def test_sizes_for_people(sent: int | None, size: str) -> None:
    assert Timed("a", "b", 1, sent).size == size
