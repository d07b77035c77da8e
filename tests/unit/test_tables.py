"""Tables: aligned text, HTML, and very long ones."""

from __future__ import annotations

from vllm_runbook.tables import Table


def test_a_long_table_shows_its_first_rows_and_how_many_more_there_are() -> None:
    table = Table(("node", "GPUs"), [(f"gpu-{number}", 4) for number in range(5000)])
    assert len(table.rows) == 5000
    for text in (str(table), table.html()):
        assert "gpu-59" in text and "gpu-60" not in text and "… and 4,940 more" in text


def test_a_short_table_is_whole() -> None:
    table = Table(("node",), [(f"gpu-{number}",) for number in range(60)])
    assert "gpu-59" in str(table) and "more" not in str(table)
