"""`runbook run` on small notebooks: order, parameters, failures, resuming, interrupting, secrets, the report."""

from __future__ import annotations

import base64
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from .desk import Desk, notebook

TOKEN = "hf_abcdefghijklmnopqrstuvwx"
PASSWORD = "correct-horse-battery"


def test_in_order_with_parameters_and_a_report(desk: Desk) -> None:
    desk.put(
        "00_first", notebook("print('x is', x)", parameters="x = 1  # a number\noverrides = {}  # more", changed=2)
    )
    desk.put("02_second", notebook("print(overrides)", parameters="overrides = {}  # more"))
    desk.put("10_third", notebook(on_request=True))
    done = desk.run("-p", "x=5", "-p", "a.b=c")
    assert done.returncode == 0, done.stderr
    assert desk.states() == {"00_first": "passed", "02_second": "passed"}
    assert "x is 5" in desk.output("00_first") and "{'a.b': 'c'}" in desk.output("02_second")
    assert re.search(r"ok +00_first .* 1/1 checks, changed 2 objects", done.stdout)
    assert "02_second" in done.stdout and "nothing changed" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["changed 2 objects", "report: runs/latest/report.html"]
    assert desk.summary["status"] == "passed" and desk.summary["changed"] == 2
    assert desk.summary["notebooks"][0]["result"]["figures"] == {"ttft_seconds": 0.5}
    suite = ElementTree.parse(desk.latest / "junit.xml").getroot()
    assert [case.get("name") for case in suite] == ["00_first", "02_second"]
    report = (desk.latest / "report.html").read_text()
    assert "x is 5" in report and "Partly simulated.</b> Only vLLM is." in report and "0.5 s" in report

    third = desk.run("10")
    assert third.returncode == 0 and desk.states() == {"10_third": "passed"}


def test_what_a_kernel_logs_of_its_own_is_not_told(desk: Desk) -> None:
    """Of the interrupt with which it is ended, for one: that is no error of the run."""
    desk.put("00_a", notebook("get_ipython().kernel.log.error('KeyboardInterrupt caught in kernel')"))
    done = desk.run()
    assert done.returncode == 0 and "caught in kernel" not in done.stdout + done.stderr


def test_from_to_and_names(desk: Desk) -> None:
    for name in ("00_a", "01_b", "02_c", "03_d"):
        desk.put(name, notebook())
    assert desk.run("--from", "1", "--to", "02_c").returncode == 0
    assert list(desk.states()) == ["01_b", "02_c"]
    desk.put("10_z", notebook(on_request=True, comes_last=True))
    desk.put("11_y", notebook(on_request=True))
    assert desk.run("--from", "3", "--all").returncode == 0
    assert list(desk.states()) == ["03_d", "11_y", "10_z"], "what takes everything away comes last"
    wrong = desk.run("--to", "02_d")
    assert wrong.returncode == 2
    assert "There is no notebook 02_d" in wrong.stderr and "Did you mean" in wrong.stderr


def test_a_failure_ends_the_run_and_the_next_one_resumes_there(desk: Desk) -> None:
    counts = (
        "from pathlib import Path\np = Path('count-{}')\np.write_text(str(int(p.read_text()) + 1 if p.exists() else 1))"
    )
    desk.put("00_a", notebook(counts.format("a")))
    desk.put("01_b", notebook(counts.format("b"), "if not Path('mended').exists():\n    raise ValueError('not yet')"))
    desk.put("02_c", notebook())
    failed = desk.run()
    assert failed.returncode == 1
    assert desk.states() == {"00_a": "passed", "01_b": "failed", "02_c": "not run"}
    assert "01_b failed: ValueError: not yet" in failed.stderr and "01_b.ipynb" in failed.stderr
    assert desk.summary["notebooks"][1]["error"]["source"] == [
        "if not Path('mended').exists():",
        "    raise ValueError('not yet')",
    ]
    suite = ElementTree.parse(desk.latest / "junit.xml").getroot()
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    assert "ValueError: not yet" in (desk.latest / "report.html").read_text()
    directory = desk.latest.resolve()

    books = desk.directory / "notebooks"
    (books / "mended").touch()
    resumed = desk.run()
    assert resumed.returncode == 0 and "resuming" in resumed.stdout and "1 of 3" in resumed.stdout
    assert desk.latest.resolve() == directory
    assert ((books / "count-a").read_text(), (books / "count-b").read_text()) == ("1", "2")

    assert desk.run().returncode == 0  # a finished run is not resumed
    assert desk.latest.resolve() != directory
    assert (books / "count-a").read_text() == "2"


def test_fresh_and_other_parameters_start_over(desk: Desk) -> None:
    desk.put("00_a", notebook("print(x)", parameters="x = 1  # a number"))
    desk.put("01_b", notebook("raise ValueError('no')"))
    assert desk.run().returncode == 1
    first = desk.latest.resolve()
    assert "resuming" not in desk.run("--fresh").stdout
    assert "resuming" not in desk.run("-p", "x=2").stdout
    assert "resuming" in desk.run("-p", "x=2").stdout
    assert desk.latest.resolve() != first


SPOT = 'platform = "k3s"  # a file\nmodel = "tiny"  # a file\noverrides = {}  # more'
WHY = "k3s has no spot (null in its file)"


@pytest.fixture
def with_spot(desk: Desk) -> Desk:
    """Three notebooks, of which the second needs spot nodes, on a platform that has none."""
    desk.put("00_a", notebook())
    desk.put("08_b", notebook("print('there was spot')", parameters=SPOT, needs=["spot"]))
    desk.put("09_c", notebook())
    return desk


def test_what_the_platform_lacks_is_left_out_and_the_run_goes_on(with_spot: Desk) -> None:
    done = with_spot.run()
    assert done.returncode == 0, done.stderr
    assert with_spot.states() == {"00_a": "passed", "08_b": "skipped", "09_c": "passed"}
    assert re.search(rf"^-- +08_b +left out: {re.escape(WHY)}", done.stdout, re.M)
    assert with_spot.summary["status"] == "passed" and with_spot.summary["notebooks"][1]["skipped"] == WHY
    suite = ElementTree.parse(with_spot.latest / "junit.xml").getroot()
    skipped = suite.find("testcase[@name='08_b']/skipped")
    assert suite.get("skipped") == "1" and skipped is not None and skipped.get("message") == WHY
    report = (with_spot.latest / "report.html").read_text()
    assert WHY in report and "there was spot" not in report
    assert not (with_spot.latest / "08_b.ipynb").exists()


def test_named_it_fails_before_anything_starts(with_spot: Desk) -> None:
    for arguments in (["8"], ["00", "08_b"], ["--from", "8", "--to", "8"]):
        done = with_spot.run(*arguments)
        assert done.returncode == 2 and WHY in done.stderr, done.stdout
        assert not with_spot.latest.exists()


def test_what_another_platform_has_runs(with_spot: Desk) -> None:
    done = with_spot.run("--platform", "gke")
    assert done.returncode == 0 and with_spot.states()["08_b"] == "passed"
    done = with_spot.run("--platform", "gke", "-p", "platform.spot=null")
    assert done.returncode == 0 and with_spot.states()["08_b"] == "skipped"


def test_a_failed_run_is_resumed_past_what_was_left_out(with_spot: Desk) -> None:
    with_spot.put("09_c", notebook("from pathlib import Path\nassert Path('mended').exists()"))
    assert with_spot.run().returncode == 1
    assert with_spot.states() == {"00_a": "passed", "08_b": "skipped", "09_c": "failed"}
    (with_spot.directory / "notebooks" / "mended").touch()
    again = with_spot.run()
    assert again.returncode == 0 and "resuming" in again.stdout
    assert with_spot.states() == {"00_a": "passed", "08_b": "skipped", "09_c": "passed"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_then_again(desk: Desk, number: signal.Signals) -> None:
    wait = "from pathlib import Path\nimport threading\nPath('started').touch()\n"
    desk.put("00_a", notebook())
    desk.put("01_b", notebook(wait + "if not Path('again').exists():\n    threading.Event().wait(300)"))
    process = subprocess.Popen(
        desk.command(), cwd=desk.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    books = desk.directory / "notebooks"
    wait_for(lambda: (books / "started").exists())
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert process.returncode == 130 and "goes on where it stopped" in err
        assert desk.states() == {"00_a": "passed", "01_b": "interrupted"}
    (books / "again").touch()
    again = desk.run()
    assert again.returncode == 0 and "resuming" in again.stdout
    assert desk.states() == {"00_a": "passed", "01_b": "passed"}


def wait_for(condition: Callable[[], bool]) -> None:
    import time

    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_secrets_stay_out_of_everything_that_is_written(desk: Desk) -> None:
    leak = "import base64, os\nprint(os.environ['HF_TOKEN'], os.environ['DB_PASSWORD'])\n"
    leak += "print(base64.b64encode(os.environ['DB_PASSWORD'].encode()).decode(), 'sk-run' + 'book-' + 'A1_-' * 8)"
    desk.put("00_leaks", notebook(leak))
    desk.put("01_fails", notebook(f"raise ValueError('refused for {TOKEN}')"))
    done = desk.run(HF_TOKEN="my-own-secret-value", DB_PASSWORD=PASSWORD)
    assert done.returncode == 1
    written = "".join(file.read_text() for file in desk.latest.iterdir()) + done.stdout + done.stderr
    encoded = base64.b64encode(PASSWORD.encode()).decode()
    for secret in (TOKEN, PASSWORD, encoded, "my-own-secret-value", "sk-runbook-A1_-"):
        assert secret not in written.replace(f"raise ValueError('refused for {TOKEN}')", "")
    assert "•••" in desk.output("00_leaks")


def test_the_report_draws_plots_without_a_network(desk: Desk) -> None:
    plot = (
        "import plotly.graph_objects as go\nfrom vllm_runbook.plots import figure, show\n"
        "show(figure('Title', 'x', 'y', 'Words for the plot.', [go.Bar(x=[1], y=[2])]))"
    )
    desk.put("00_plots", notebook(plot, plot))
    assert desk.run().returncode == 0
    report = (desk.latest / "report.html").read_text()
    assert report.count('class="plotly-graph-div"') == 2
    assert report.count("<figcaption>Words for the plot.<") == 2
    assert report.count('aria-label="Bar chart. Words for the plot. ') == 2
    assert len(report) < 8_000_000  # the library is in it once
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", report)
    assert (desk.latest / "00_plots.ipynb").stat().st_size < 100_000


def test_one_run_at_a_time(desk: Desk) -> None:
    code = "from pathlib import Path\nimport threading\nPath('started').touch()\nthreading.Event().wait(300)"
    desk.put("00_a", notebook(code))
    process = subprocess.Popen(desk.command(), cwd=desk.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (desk.directory / "notebooks" / "started").exists())
        second = desk.run()
        assert second.returncode == 3 and "Another run is at work" in second.stderr
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_a_cell_may_be_given_a_time_limit(desk: Desk) -> None:
    desk.put("00_a", notebook("import threading\nthreading.Event().wait(300)"))
    done = desk.run("--timeout", "2")
    assert done.returncode == 1 and "imeout" in done.stderr


def test_normalise_keeps_only_the_verdict(desk: Desk) -> None:
    desk.put("00_a", notebook("print('volatile')"))
    assert desk.run().returncode == 0
    file = desk.directory / "notebooks" / "00_a.ipynb"
    normalise = [sys.executable, "-m", "runbook_cli.main", "normalise"]
    taken = subprocess.run([*normalise, "--verdicts-from", str(desk.latest), str(file)], capture_output=True, text=True)
    assert taken.returncode == 0, taken.stderr
    text = file.read_text()
    assert "holds" in text and "volatile\\n" not in text
    assert subprocess.run([*normalise, "--check", str(file)]).returncode == 0
    file.write_text(text.replace('"execution_count": null', '"execution_count": 7', 1))
    checked = subprocess.run([*normalise, "--check", str(file)], capture_output=True, text=True)
    assert checked.returncode == 1 and "would change" in checked.stdout
