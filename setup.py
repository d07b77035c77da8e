"""Puts notebooks, params, manifests and the pins of the sandbox's programs into the built package.

They stay where readers of the repository look for them; only a build copies them. Everything else is in pyproject.toml.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
#: Where a build puts files of the repository: package directory, then patterns of files below the repository.
CARRIED = {
    "vllm_runbook/shipped": (
        "notebooks/[0-9][0-9]_*.ipynb",
        "notebooks/index.ipynb",
        "notebooks/*.cfg",
        "params/*/*.yaml",
        "manifests/**/*.yaml",
        "manifests/**/*.json",
    ),
    "vllm_sandbox/shipped": (
        "tools/*/go.mod",
        "tools/*/go.sum",
        "tools/*/tools.go",
        "tools/vllm/requirements.lock",
        "tools/vllm/run.yaml",
    ),
}


class BuildPy(build_py):
    """build_py, and the files that are no modules. An editable installation reads the repository itself."""

    def run(self) -> None:
        super().run()
        for package in CARRIED if not self.editable_mode else ():
            # what an earlier build left there: a notebook that has another name now would be installed with the new one
            shutil.rmtree(Path(self.build_lib) / package, ignore_errors=True)
        for source, target in self._carried().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target, preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self._carried().values()]

    def get_source_files(self) -> list[str]:
        """What a source distribution needs, too."""
        files = (file for patterns in CARRIED.values() for pattern in patterns for file in sorted(ROOT.glob(pattern)))
        return [*super().get_source_files(), *(str(file.relative_to(ROOT)) for file in files)]

    def _carried(self) -> dict[str, str]:
        if self.editable_mode:
            return {}
        return {
            str(file): str(Path(self.build_lib) / package / file.relative_to(ROOT))
            for package, patterns in CARRIED.items()
            for pattern in patterns
            for file in sorted(ROOT.glob(pattern))
        }


setup(cmdclass={"build_py": BuildPy})
