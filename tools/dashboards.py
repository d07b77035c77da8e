"""Makes the Grafana dashboards in manifests/monitoring: ``python tools/dashboards.py``; ``--check`` only compares.

They are built with Grafana's own types (grafana-foundation-sdk, generated from the schemas of Grafana's sources), so a
field that a panel doesn't have can't be written. What the rules record is asked by that name.
"""

from __future__ import annotations

import sys
from pathlib import Path

from boards import BOARDS, SPACES, Board, Panel
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import DataSourceRef, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

FOLDER = Path(__file__).parents[1] / "manifests" / "monitoring" / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def query(legend: str, expression: str) -> prometheus.Dataquery:
    """One question; Grafana names it (A, B, …) itself."""
    return prometheus.Dataquery().datasource(SOURCE).expr(expression).legend_format(legend).range()


def curve(panel: Panel) -> timeseries.Panel:
    """A panel with curves, the alert's threshold last."""
    made = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(8)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
        )
    )
    made = made.min(0)
    if panel.top is not None:
        made = made.max(panel.top)
    return made


def number(_panel: Panel) -> stat.Panel:
    """A panel with the newest value."""
    steps = [Threshold(value=None, color="blue")]
    return stat.Panel().thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))


def draw(panel: Panel) -> timeseries.Panel | stat.Panel:
    made = number(panel) if panel.number else curve(panel)
    made = made.title(panel.title).description(panel.about).datasource(SOURCE).unit(panel.unit).height(8).span(12)
    asked = {**panel.queries, **({"alert": panel.limit} if panel.limit else {})}
    for letter, (legend, expression) in zip("ABCDEF", asked.items(), strict=False):
        made = made.with_target(query(legend, expression).ref_id(letter))
    return made


def board(spec: Board) -> dashboard.Dashboard:
    """A whole dashboard."""
    made = (
        dashboard.Dashboard(spec.title)
        .uid(f"runbook-{spec.name}")
        .description(spec.about)
        .tags(["vllm", "vllm-runbook"])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    if any(SPACES in text for panels in spec.rows.values() for each in panels for text in each.queries.values()):
        made = made.with_variable(
            dashboard.QueryVariable("namespace")
            .label("Namespace")
            .datasource(SOURCE)
            .query("label_values(vllm:num_requests_running, namespace)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .all_value(".+")
            .multi(True)
        )
    for title, panels in spec.rows.items():
        made = made.with_row(dashboard.Row(title))
        for panel in panels:
            made = made.with_panel(draw(panel))
    return made


def text(spec: Board) -> str:
    """The dashboard as JSON."""
    built = board(spec).build()
    for variable in built.templating.list_val or ():
        variable.auto = variable.auto_count = variable.auto_min = None  # of intervals only, by Grafana's own types
    return JSONEncoder(sort_keys=True, indent=1).encode(built) + "\n"


def main(arguments: list[str]) -> int:
    different = 0
    for spec in BOARDS:
        file, made = FOLDER / f"{spec.name}.json", text(spec)
        if file.is_file() and file.read_text(encoding="utf-8") == made:
            continue
        different += 1
        if "--check" not in arguments:
            file.write_text(made, encoding="utf-8")
        print(f"{'would change' if '--check' in arguments else 'wrote'} {file.name}")
    return int(bool(different) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
