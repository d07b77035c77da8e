"""The Dockerfile, read: it can't be built everywhere, but what it names must exist, and what it promises hold."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(at for at, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def test_images_are_pinned_by_version() -> None:
    for word, rest in instructions():
        if word == "FROM":
            assert re.match(r"python:3\.\d+\.\d+-slim-\w+( AS \w+)?$", rest), rest


def test_copied_files_exist_and_are_in_the_context() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            copied |= set(rest.split()[:-1])
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_last_stage_runs_as_nobodys_root_and_builds_nothing() -> None:
    stage = final_stage()
    assert not [rest for word, rest in stage if word == "RUN"]
    (user,) = (rest for word, rest in stage if word == "USER")
    assert [word for word, _ in stage].index("USER") > max(at for at, (word, _) in enumerate(stage) if word == "COPY")
    cron = next(
        item
        for item in yaml.safe_load_all((ROOT / "manifests/scheduled/verify.yaml").read_text())
        if item["kind"] == "CronJob"
    )
    security = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["securityContext"]
    assert user == f"{security['runAsUser']}:{security['runAsGroup']}"


def test_entry_point_and_extras_are_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (entry,) = (rest for word, rest in final_stage() if word == "ENTRYPOINT")
    assert entry == '["runbook"]' and "runbook" in project["scripts"]
    extras = re.search(r"\.\[([\w,]+)\]", (ROOT / "Dockerfile").read_text())
    assert extras and set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_the_image_is_the_one_that_platforms_name() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for file in (ROOT / "params" / "platforms").glob("*.yaml"):
        assert yaml.safe_load(file.read_text())["images"]["runbook"].endswith(f"/runbook:{version}"), file.name
