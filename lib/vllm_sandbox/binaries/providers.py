"""Ways to get a program: what is there already, the official release, ``go build``."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from vllm_sandbox.binaries.progress import Progress
from vllm_sandbox.binaries.table import Download, Tool
from vllm_sandbox.paths import cache_dir, tools_dir

CONNECT_TIMEOUT_S = 5.0
_unreachable: set[str] = set()  # hosts that didn't answer: asked once per process


class Unavailable(Exception):
    """This way doesn't lead to the program; the sentence says why."""


def cached_path(tool: Tool) -> Path:
    """Where the cache keeps this version of the program."""
    version = f"{tool.version}-edited" if tool.edits else tool.version
    return cache_dir() / "bin" / tool.name / version / tool.name


def from_cache(tool: Tool) -> Path:
    """The program in the cache."""
    file = cached_path(tool)
    if not file.is_file():
        raise Unavailable(f"not in the cache ({file})")
    return file


def from_path(tool: Tool) -> Path:
    """A program on PATH that says it is exactly the pinned version."""
    found = shutil.which(tool.name)
    if not found or tool.version_args is None:
        raise Unavailable("not on PATH")
    try:
        answer = subprocess.run([found, *tool.version_args], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{found} could not be run: {error}") from error
    if not says_version(answer.stdout + answer.stderr, tool.version):
        first = (answer.stdout or answer.stderr).strip().splitlines()[:1]
        raise Unavailable(f"{found} is {first[0] if first else 'of an unknown version'}, not {tool.version}")
    return Path(found)


def says_version(text: str, version: str) -> bool:
    """Whether a program's version text names ``version`` as its own, exactly."""
    own = re.search(r"v?(\d+\.\d+\.\d+[-+.\w]*)", text)
    return own is not None and own.group(1) == version.lstrip("v")


def from_download(tool: Tool) -> Path:
    """The official release, verified by its published SHA-256; an interrupted download resumes."""
    if tool.download is None:
        raise Unavailable("there is no official binary release")
    target = cached_path(tool)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f"{tool.download.url.rpartition('/')[2]}.part"
    try:
        with httpx.Client(timeout=httpx.Timeout(60, connect=CONNECT_TIMEOUT_S), follow_redirects=True) as client:
            checksum = _published_checksum(client, tool.download)
            _fetch(client, tool.download.url, partial)
    except httpx.HTTPError as error:
        host = httpx.URL(tool.download.url).host
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            _unreachable.add(host)
        raise Unavailable(f"{host} can't be reached: {error}") from error
    if (found := _sha256(partial)) != checksum:
        partial.unlink()
        raise Unavailable(f"{tool.download.url} has SHA-256 {found}, its publisher says {checksum}: deleted")
    _install(_extract(partial, tool.download.member), target)
    partial.unlink()
    return target


def _published_checksum(client: httpx.Client, download: Download) -> str:
    host = httpx.URL(download.url).host
    if host in _unreachable:
        raise Unavailable(f"{host} can't be reached")
    answer = client.get(download.checksum_url).raise_for_status()
    name = download.url.rpartition("/")[2]
    for line in answer.text.splitlines():
        words = line.split()
        if words and (len(words) == 1 or words[-1].lstrip("*") == name):
            return words[0].lower()
    raise Unavailable(f"{download.checksum_url} doesn't list {name}")


def _fetch(client: httpx.Client, url: str, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    with client.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as answer:
        if answer.status_code == 416:  # complete already
            return
        answer.raise_for_status()
        if answer.status_code != 206:
            have = 0
        size = int(answer.headers.get("content-length", 0)) + have
        name = url.rpartition("/")[2]
        with partial.open("ab" if have else "wb") as out, Progress(f"download {name}", size, "B") as progress:
            progress.advance(have)
            for chunk in answer.iter_bytes(1 << 20):
                out.write(chunk)
                progress.advance(len(chunk))


def _sha256(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _extract(archive: Path, member: str | None) -> Path:
    """A new temporary file beside ``archive`` with the program."""
    handle, name = tempfile.mkstemp(dir=archive.parent)
    with os.fdopen(handle, "wb") as out:
        if member is None:
            with archive.open("rb") as source:
                shutil.copyfileobj(source, out)
        else:
            with tarfile.open(archive) as tar:
                packed = tar.extractfile(member)
                assert packed
                shutil.copyfileobj(packed, out)
    return Path(name)


def _install(made: Path, target: Path) -> None:
    """Put a finished program in its place in one step."""
    made.chmod(0o755)
    os.replace(made, target)


def from_build(tools: Sequence[Tool]) -> Mapping[str, Path]:
    """Build programs of one family from the pinned modules.

    Go's own cache keeps what was compiled, so an interrupted build goes on where it stopped.
    """
    go = shutil.which("go")
    if not go:
        raise Unavailable("go is not installed")
    module = tools_dir() / tools[0].family
    if not (module / "go.mod").is_file():
        raise Unavailable(f"{module} isn't there: the installation is incomplete")
    built: dict[str, Path] = {}
    for flags in sorted({(tool.tags, tool.ldflags) for tool in tools}):
        group = [tool for tool in tools if (tool.tags, tool.ldflags) == flags]
        built |= _go_build(go, module, group)
    return built


def _go_build(go: str, module: Path, tools: Sequence[Tool]) -> dict[str, Path]:
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    base = cache_dir() / "bin"
    base.mkdir(parents=True, exist_ok=True)
    common = ["-tags", tools[0].tags, "-trimpath"]
    packages = [tool.package for tool in tools]
    names = ", ".join(tool.name for tool in tools)
    with tempfile.TemporaryDirectory(dir=base, prefix=".build-") as work:
        total = _package_count(go, module, env, common, packages)
        packages = [_built_package(tool) for tool in tools]
        common += _overlay(go, module, env, tools, Path(work) / "edited")
        command = [go, "build", "-v", *common, "-ldflags", tools[0].ldflags, "-o", f"{work}/", *packages]
        with Progress(f"build {names} {tools[0].version}", total, "packages") as progress:
            _run_build(command, module, env, progress)
        built = {}
        for tool in tools:
            made = Path(work) / _go_name(_built_package(tool))
            target = cached_path(tool)
            target.parent.mkdir(parents=True, exist_ok=True)
            _install(made, target)
            built[tool.name] = target
    return built


def _built_package(tool: Tool) -> str:
    return f"./{tool.name}" if tool.edits else tool.package


def _go_name(package: str) -> str:
    """File name that ``go build`` gives a package's program: a version suffix doesn't count."""
    *_, parent, last = package.split("/")
    return parent if re.fullmatch(r"v\d+", last) else last


def _package_count(go: str, module: Path, env: Mapping[str, str], common: list[str], packages: list[str]) -> int:
    """How many packages a build compiles; listing them also downloads the modules."""
    listing = subprocess.run(
        [go, "list", "-deps", "-tags", common[1], *packages], cwd=module, env=env, capture_output=True, text=True
    )
    if listing.returncode:
        raise Unavailable(f"go list failed: {_tail(listing.stderr)}")
    return len(listing.stdout.splitlines())


def _overlay(go: str, module: Path, env: Mapping[str, str], tools: Sequence[Tool], directory: Path) -> list[str]:
    """Options under which the tools' edited packages are there, as ``./NAME`` and below in our module."""
    edited: dict[Path, str] = {}
    for tool in tools:
        for edit in tool.edits:
            package = edit.package or tool.package
            target = module / tool.name / edit.package.rpartition("/")[2] / edit.file
            text = edited.get(target) or _source(go, module, env, package, edit.file)
            if text.count(edit.old) != 1:
                raise Unavailable(f"{package}/{edit.file} has changed: the edit doesn't fit it any more")
            edited[target] = text.replace(edit.old, edit.new)
    if not edited:
        return []
    directory.mkdir()
    replaced = {}
    for number, (target, text) in enumerate(edited.items()):
        copy = directory / f"{number}-{target.name}"
        copy.write_text(text, encoding="utf-8")
        replaced[str(target)] = str(copy)
    overlay = directory / "overlay.json"
    overlay.write_text(json.dumps({"Replace": replaced}), encoding="utf-8")
    return ["-overlay", str(overlay)]


def _source(go: str, module: Path, env: Mapping[str, str], package: str, file: str) -> str:
    command = [go, "list", "-f", "{{.Dir}}", package]
    folder = subprocess.run(command, cwd=module, env=env, capture_output=True, text=True, check=True).stdout.strip()
    return (Path(folder) / file).read_text(encoding="utf-8")


def _run_build(command: list[str], module: Path, env: Mapping[str, str], progress: Progress) -> None:
    output: list[str] = []
    with subprocess.Popen(command, cwd=module, env=env, stderr=subprocess.PIPE, text=True) as build:
        assert build.stderr
        try:
            for line in build.stderr:  # with -v: one line per package
                output.append(line)
                progress.advance()
        except BaseException:
            build.kill()
            raise
    if build.returncode:
        raise Unavailable(f"go build failed with exit code {build.returncode}: {_tail(''.join(output))}")


def _tail(text: str, lines: int = 5) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
