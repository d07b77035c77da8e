"""What every notebook promises to its reader, held for all of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, get_args

import nbformat
import pytest

from vllm_runbook.params import Platform
from vllm_runbook.runner.normalise import normalised
from vllm_runbook.steps.permissions import TITLES

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_LINES = 12


def read(file: Path) -> Any:
    return nbformat.read(file, as_version=4)


def code_cells(file: Path) -> list[Any]:
    return [cell for cell in read(file).cells if cell.cell_type == "code"]


def prose(file: Path) -> str:
    return "\n\n".join(cell.source for cell in read(file).cells if cell.cell_type == "markdown")


def test_every_notebook_has_its_permissions_and_title() -> None:
    assert {file.stem for file in FILES} == set(TITLES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
class TestNotebook:
    def test_is_kept_normalised(self, file: Path) -> None:
        text = file.read_text(encoding="utf-8")
        assert normalised(text) == text

    def test_begins_with_title_what_and_why(self, file: Path) -> None:
        first = read(file).cells[0].source
        title, _, rest = first.partition("\n")
        assert re.match(rf"# {file.stem[:2]} \w", title)
        assert len(rest.strip().split("\n\n")[0].split()) > 25

    def test_says_what_it_needs_and_leaves_and_what_can_go_wrong(self, file: Path) -> None:
        text = prose(file)
        for part in ("**Needs:**", "**Leaves:**", "## What can go wrong", "## Verdict", "**Next:**"):
            assert text.count(part) == 1, part

    def test_has_one_parameters_cell_with_explained_plain_values(self, file: Path) -> None:
        cells = [cell for cell in code_cells(file) if "parameters" in cell.metadata.get("tags", [])]
        assert len(cells) == 1 and cells[0] is not None
        for line, node in zip(cells[0].source.splitlines(), ast.parse(cells[0].source).body, strict=True):
            assert isinstance(node, ast.Assign), line
            ast.literal_eval(node.value)
            assert "  # " in line, f"{line}: no comment (papermill --help-notebook shows it)"
            assert line.count("=") == 1, f"{line}: papermill can't parse it, and calls the parameter unknown"

    def test_ends_with_a_stored_verdict_that_holds(self, file: Path) -> None:
        last = code_cells(file)[-1]
        assert last.metadata.get("tags") == ["verdict"]
        assert last.source == "book.verdict()"
        (output,) = last.outputs
        assert output.text.startswith(f"{TITLES[file.stem]}: holds\n") and "NOT" not in output.text

    def test_cells_are_short_and_compile(self, file: Path) -> None:
        for cell in code_cells(file):
            assert len(cell.source.splitlines()) <= MAX_LINES, cell.source
            compile(cell.source, file.stem, "exec")

    def test_begins_with_its_own_name(self, file: Path) -> None:
        """Hidden state would need another notebook's variables: each one begins for itself."""
        begins = [cell.source for cell in code_cells(file) if "notebook.begin(" in cell.source]
        assert len(begins) == 1
        assert f'notebook.begin("{file.stem}", platform, model, overrides)' in begins[0]

    def test_needs_only_what_a_platform_can_lack(self, file: Path) -> None:
        fields = {field.alias or name: field for name, field in Platform.model_fields.items()}
        for name in read(file).metadata.get("runbook", {}).get("needs", ()):
            assert type(None) in get_args(fields[name].annotation)

    def test_figures_are_not_compared(self, file: Path) -> None:
        for cell in code_cells(file):
            if re.search(r"\b(show|live)\(", cell.source):
                assert cell.metadata.get("tags") == ["nbval-ignore-output"], cell.source

    def test_links_lead_somewhere(self, file: Path) -> None:
        for target in re.findall(r"\]\(([\w./-]+\.ipynb)\)", prose(file)):
            assert (file.parent / target).is_file(), target
