"""Where results go, how many stay, what is told: on small notebooks, as a scheduler runs them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .desk import Desk, notebook

FILES = {"00_a.ipynb", "report.html", "summary.json", "junit.xml"}
SECRET = "my-own-secret-value"


class Receiver(ThreadingHTTPServer):
    """Keeps what is sent to it; answers with ``code``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, str, bytes]] = []
        self.code = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.got.append((self.command, self.path, body))
        self.send_response(self.server.code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = _take  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def runs(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir() if each.is_dir() and not each.is_symlink())


def test_a_directory_gets_everything_and_keeps_the_newest(desk: Desk) -> None:
    desk.put("00_a", notebook(changed=2))
    (desk.directory / "kept" / "not-a-run").mkdir(parents=True)
    names = []
    for _ in range(3):
        done = desk.run("--output", "kept", "--keep", "2", "--fresh")
        assert done.returncode == 0, done.stderr
        names.append(desk.latest.resolve().name)
    assert runs(desk.directory / "kept") == [*names[1:], "not-a-run"]
    assert runs(desk.directory / "runs") == names[1:]
    assert {file.name for file in (desk.directory / "kept" / names[2]).iterdir()} == FILES
    line = next(line for line in done.stdout.splitlines() if line.startswith("run "))
    assert re.match(r"run passed on here: 1 of 1 notebooks, 1 of 1 checks, changed 2, \d+ s, " + names[2], line)


def test_an_object_store_gets_it_by_papermills_handler(desk: Desk, receiver: Receiver) -> None:
    desk.put("00_a", notebook(f"print('{SECRET}')"))
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key-key-key", "AWS_DEFAULT_REGION": "us-east-1"}
    plain = {"AWS_ENDPOINT_URL": receiver.url, "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}
    done = desk.run("--output", "s3://bucket/nightly", HF_TOKEN=SECRET, **keys, **plain)
    assert done.returncode == 0, done.stderr
    stamp = desk.latest.resolve().name
    assert {path.partition("?")[0] for _, path, _ in receiver.got} == {
        f"/bucket/nightly/{stamp}/{name}" for name in FILES
    }
    bodies = b"".join(body for _, _, body in receiver.got)
    assert b'"status": "passed"' in bodies and SECRET.encode() not in bodies
    assert f"results: s3://bucket/nightly/{stamp}" in done.stdout


def test_a_store_that_refuses_is_told_and_the_results_are_still_here(desk: Desk, receiver: Receiver) -> None:
    desk.put("00_a", notebook())
    receiver.code = 403
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key-key-key", "AWS_DEFAULT_REGION": "us-east-1"}
    done = desk.run("--output", "s3://bucket/nightly", AWS_ENDPOINT_URL=receiver.url, **keys)
    assert done.returncode == 1 and "could not be kept in s3://bucket/nightly" in done.stderr
    assert (desk.latest / "report.html").is_file() and desk.summary["status"] == "passed"


@pytest.mark.parametrize(
    ("output", "words"),
    [("ftp://x/y", "Results can't be kept in ftp://"), ("gs://bucket", "gcsfs"), ("abs://account/container", "azure")],
)
def test_what_can_not_be_written_ends_before_anything_runs(desk: Desk, output: str, words: str) -> None:
    desk.put("00_a", notebook())
    done = desk.run("--output", output)
    assert done.returncode == 2 and words in done.stderr
    assert not desk.latest.exists()


def test_a_webhook_is_told_in_one_line_and_as_data(desk: Desk, receiver: Receiver) -> None:
    desk.put("00_a", notebook())
    desk.put("01_b", notebook(f"raise ValueError('refused: {SECRET}')"))
    url = f"{receiver.url}/hooks/T0/very-secret-path"
    done = desk.run(RUNBOOK_WEBHOOK_URL=url, HF_TOKEN=SECRET)
    assert done.returncode == 1
    ((method, path, body),) = receiver.got
    told = json.loads(body)
    assert (method, path) == ("POST", "/hooks/T0/very-secret-path")
    assert told["status"] == "failed" and told["notebooks"] == {"00_a": "passed", "01_b": "failed"}
    assert told["text"].startswith("run failed") and "01_b: ValueError: refused: •••" in told["text"]
    assert told["text"] in done.stdout.splitlines()
    assert SECRET not in body.decode()


def test_the_address_of_a_webhook_is_a_secret(desk: Desk, receiver: Receiver) -> None:
    desk.put("00_a", notebook("import os\nprint('seen:', os.environ.get('RUNBOOK_WEBHOOK_URL'))"))
    url = f"{receiver.url}/hooks/very-secret-path"
    receiver.code = 500
    done = desk.run(RUNBOOK_WEBHOOK_URL=url)
    assert done.returncode == 0, "a message that doesn't arrive changes nothing"
    assert "the webhook could not be told: 127.0.0.1 answered 500" in done.stderr
    assert "seen: None" in desk.output("00_a")
    written = "".join(file.read_text() for file in desk.latest.iterdir()) + done.stdout + done.stderr
    assert "very-secret-path" not in written
    wrong = desk.run("--webhook", "file:///etc/passwd")
    assert wrong.returncode == 2 and "must begin with http" in wrong.stderr
