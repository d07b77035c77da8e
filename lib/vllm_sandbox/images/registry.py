"""Which program stands for which container image.

An image of your own is one entry (docs/images.md walks through it)::

    register(
        Image("registry.example.com/team/router", entrypoint=("router",), programs={"router": python("team_router")})
    )
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Context:
    """What a program may need to know of its container.

    Attributes:
        pod_ip: loopback address that servers in this pod bind to.
        node: name of the node.
        env: the container's environment, complete.
        binary: finds one of the sandbox's own binaries, such as ``prometheus``.
    """

    pod_ip: str
    node: str
    env: Mapping[str, str]
    binary: Callable[[str], Path]


Program = Callable[[list[str], Context], list[str]]
"""Turns the arguments after the executable's name into this machine's argv."""


@dataclass(frozen=True)
class Image:
    """One image, as far as its containers can tell.

    Attributes:
        name: repository without tag, e.g. ``vllm/vllm-openai``.
        entrypoint, cmd: used where the container gives no command or args.
        programs: executable (first word of the command) to program; ``"*"`` is any executable of
            this machine.
        tags: regular expression that an existing tag matches.
        simulated: True when the program stands for another one; printed in its first log line.
        env: variables that the image sets.
        user: uid that the image runs as (0: root, refused by runAsNonRoot as a kubelet does).
    """

    name: str
    entrypoint: tuple[str, ...]
    programs: Mapping[str, Program]
    cmd: tuple[str, ...] = ()
    tags: str = r".+"
    simulated: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    user: int = 0

    @property
    def digest(self) -> str:
        """Stable for the name, whatever the tag: the sandbox has no layers to hash."""
        return f"sha256:{hashlib.sha256(self.name.encode()).hexdigest()}"

    @property
    def id(self) -> str:
        """As a pod's status has it (imageID); pods can be deployed by it."""
        return f"{self.name}@{self.digest}"


class PullError(Exception):
    """An image can't be pulled; the sentence is the one that containerd would give."""


class UnknownImage(PullError):
    """No registry entry for this image: the sandbox can't pull it."""


class UnknownExecutable(Exception):
    """The image has no such program."""


_IMAGES: dict[str, Image] = {}


def register(image: Image) -> Image:
    """Make an image known to every sandbox of this process."""
    _IMAGES[_familiar(image.name)] = image
    return image


def find(reference: str) -> Image:
    """The image that ``reference`` names.

    Raises:
        UnknownImage: with the sentence that a container runtime would give.
    """
    name, tag = split(reference)
    digest = reference.partition("@")[2]
    image = _IMAGES.get(_familiar(behind(name)))
    if image is None or (digest != image.digest if digest else not re.fullmatch(image.tags, tag)):
        full = name if "." in name.split("/")[0] else f"docker.io/{name if '/' in name else 'library/' + name}"
        full += f"@{digest}" if digest else f":{tag}"  # beside a digest, containerd drops the tag
        raise UnknownImage(
            f'failed to pull and unpack image "{full}": failed to resolve reference "{full}": {full}: not found'
        )
    return image


#: Paths of a registry under which every image is there once more, and what one meets there (see ``access``).
HOST = "registry.sandbox.internal"
PRIVATE, LIMITED = f"{HOST}/private/", f"{HOST}/limited/"


def behind(name: str) -> str:
    """The name of an image without the part that says through which registry it comes."""
    return name.removeprefix(PRIVATE).removeprefix(LIMITED)


def split(reference: str) -> tuple[str, str]:
    """Repository and tag (``latest`` when there is none) of an image reference."""
    name, _, _digest = reference.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return _familiar(head + slash + last), tag or "latest"


def command_line(image: Image, command: list[str], args: list[str], context: Context) -> list[str]:
    """This machine's argv for a container's command and args.

    Raises:
        UnknownExecutable: the image has no such program.
    """
    words = [*command, *args] if command else [*image.entrypoint, *(args or image.cmd)]
    if not words:
        raise UnknownExecutable("no command specified")
    name, *rest = words
    program = image.programs.get(name) or image.programs.get(Path(name).name)
    if program:
        return program(rest, context)
    if "*" in image.programs and (found := shutil.which(name, path=context.env.get("PATH"))):
        return [found, *rest]
    raise UnknownExecutable(f'exec: "{name}": executable file not found in $PATH')


def python(module: str, *before: str) -> Program:
    """A program that runs a Python module of this environment."""
    return lambda args, _context: [sys.executable, "-m", module, *before, *args]


def binary(tool: str, *before: str) -> Program:
    """A program that runs one of the sandbox's own binaries, such as Prometheus."""
    return lambda args, context: [str(context.binary(tool)), *before, *args]


def host(name: str) -> Program:
    """A program of this machine, such as ``sh``."""

    def run(args: list[str], context: Context) -> list[str]:
        found = shutil.which(name, path=context.env.get("PATH"))
        if not found:
            raise UnknownExecutable(f'exec: "{name}": executable file not found in $PATH')
        return [found, *args]

    return run


_COMMON = ("sh", "bash", "sleep", "cat", "ls", "true", "false", "env")
SHELL: Mapping[str, Program] = {name: host(name) for name in _COMMON}
"""What nearly every image brings: enough for probes and hooks."""


def _familiar(name: str) -> str:
    """Docker Hub's names in their short form."""
    return name.removeprefix("docker.io/").removeprefix("library/")
