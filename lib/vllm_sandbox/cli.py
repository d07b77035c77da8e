"""``runbook sandbox …``: the embedded cluster on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import click
from pydantic import ValidationError

from vllm_sandbox import binaries, lifecycle, real_vllm
from vllm_sandbox.binaries.table import TOOLS
from vllm_sandbox.cloud import CLOUDS, RECLAIM
from vllm_sandbox.config import ENGINES, SandboxConfig
from vllm_sandbox.control_plane import COMPONENTS, ControlPlane, last_lines
from vllm_sandbox.errors import SandboxError
from vllm_sandbox.paths import sandbox_dir

_VLLM = "vllm"
name_option = click.option("--name", default="default", show_default=True, help="Name of the sandbox.")


@click.group()
def sandbox() -> None:
    """A Kubernetes cluster of local processes, with simulated GPU nodes."""


@sandbox.command()
@name_option
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML file: nodes, time_scale."
)
@click.option("--time-scale", type=click.FloatRange(min=1), help="Divide long durations (loading weights) by this.")
@click.option(
    "--engine", type=click.Choice(ENGINES), help="What runs as vLLM: the simulation, or the real server on CPU."
)
def up(name: str, config: Path | None, time_scale: float | None, engine: str | None) -> None:
    """Bring the sandbox up; does nothing when it is up."""
    try:
        wanted = SandboxConfig.load(config) if config else SandboxConfig()
        told = {key: value for key, value in (("time_scale", time_scale), ("engine", engine)) if value}
        wanted = SandboxConfig(**{**wanted.model_dump(), **told})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (is {e['input']!r})" for e in error.errors()]
        raise SandboxError(f"{config} is not a sandbox configuration", why="\n".join(problems)) from error
    lifecycle.up(name, wanted, say=click.echo)


@sandbox.command()
@name_option
@click.option("--all", "every", is_flag=True, help="Every sandbox of this user.")
def down(name: str, every: bool) -> None:
    """End every process of the sandbox and remove its files."""
    for each in lifecycle.names() if every else [name]:
        lifecycle.down(each, say=click.echo)


@sandbox.command()
@name_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def status(name: str, as_json: bool) -> None:
    """Health of the sandbox; exit code 0 only when it is running."""
    found = lifecycle.status(name)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=1))
    else:
        click.echo(f"sandbox {name}: {found.state}")
        for component, pid in found.components.items():
            click.echo(f"  {component:<24} {'ended' if component in found.dead else f'pid {pid}'}")
        for component, lines in found.dead.items():
            click.echo(f"\nlast lines of {component}:\n{lines}")
    sys.exit({"running": 0, "absent": 3}.get(found.state, 1))


@sandbox.command("list")
def list_sandboxes() -> None:
    """Every sandbox of this user."""
    for name in lifecycle.names():
        click.echo(f"{name:<24} {lifecycle.status(name).state}")


@sandbox.command()
@click.argument("component", type=click.Choice([*COMPONENTS, lifecycle.DAEMON]), default=lifecycle.DAEMON)
@name_option
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines.")
@click.option("--tail", default=50, show_default=True, help="Number of last lines.")
def logs(component: str, name: str, follow: bool, tail: int) -> None:
    """Log of a component (the daemon: nodes, network, storage)."""
    file = lifecycle.log_file(name, component)
    if not file.is_file():
        raise SandboxError(f"{component} of sandbox {name} has no log", next_step="`runbook sandbox status`")
    if follow:
        os.execvp("tail", ["tail", "-n", str(tail), "-F", str(file)])
    click.echo(last_lines(file, tail))


def _plane(name: str) -> ControlPlane:
    plane = ControlPlane(name, sandbox_dir(name))
    if not plane.kubeconfig.is_file():
        raise SandboxError(f"sandbox {name} is not up", next_step=f"`runbook sandbox up --name {name}`")
    return plane


@sandbox.command()
@name_option
def kubeconfig(name: str) -> None:
    """Print the path of the sandbox's kubeconfig."""
    click.echo(_plane(name).kubeconfig)


@sandbox.command(context_settings={"ignore_unknown_options": True})
@name_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl(name: str, arguments: tuple[str, ...]) -> None:
    """Run the pinned kubectl against the sandbox."""
    program = binaries.ensure("kubectl")["kubectl"]
    command = [str(program), "--kubeconfig", str(_plane(name).kubeconfig), *arguments]
    sys.exit(subprocess.run(command).returncode)


@sandbox.command()
@click.argument("node")
@click.option("--cloud", type=click.Choice(list(CLOUDS)), required=True, help="Whose rules.")
@click.option("--notice", type=click.FloatRange(min=0, max=3600), help="Seconds, if not the cloud's own.")
@name_option
def reclaim(node: str, cloud: str, notice: float | None, name: str) -> None:
    """Take a spot NODE back, as a cloud does it; returns at once, `kubectl get events -w` shows the rest."""
    order = cloud if notice is None else f"{cloud} {notice:g}"
    program = binaries.ensure("kubectl")["kubectl"]
    kubeconfig = ["--kubeconfig", str(_plane(name).kubeconfig)]
    command = [str(program), *kubeconfig, "annotate", "--overwrite", "node", node, f"{RECLAIM}={order}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SandboxError(f"node {node} can't be reclaimed", why=done.stderr.strip())
    seconds = CLOUDS[cloud].notice_s if notice is None else notice
    click.echo(f"node {node} ends in {seconds:g} s, by the rules of {cloud}")


@sandbox.command()
@click.argument("tools", nargs=-1, type=click.Choice([*sorted(TOOLS), _VLLM]))
def fetch(tools: tuple[str, ...]) -> None:
    """Get programs before they are needed: the named ones, or all but the real vLLM (6 GiB), which must be named."""
    if _VLLM in tools:
        click.echo(f"{_VLLM:<24} {real_vllm.VERSION:<10} {real_vllm.ensure()}")
    programs = [tool for tool in tools or TOOLS if tool != _VLLM]
    for tool, path in binaries.ensure(*programs).items():
        click.echo(f"{tool:<24} {TOOLS[tool].version:<10} {path}")


@sandbox.command()
def versions() -> None:
    """Pinned version of every program, and where it is."""
    for tool in TOOLS.values():
        click.echo(f"{tool.name:<24} {tool.version:<10} {binaries.find(tool.name) or 'not fetched yet'}")
    click.echo(f"{_VLLM:<24} {real_vllm.VERSION:<10} {real_vllm.find() or 'not fetched (optional: --engine vllm)'}")
