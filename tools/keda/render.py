"""Makes manifests/keda/release.yaml from KEDA's own release configuration (its module's config/minimal).

Descriptions are left out of the schemas (they are three quarters of the file); kubectl is needed.

    python tools/keda/render.py "$(cd tools/keda && go list -m -f '{{.Dir}}' github.com/kedacore/keda/v2)"
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from schemas import dump, without_descriptions  # noqa: E402

VERSION = re.search(r"github.com/kedacore/keda/v2 v(\S+)", (HERE / "go.mod").read_text())[1]  # type: ignore[index]
HEAD = f"""\
# KEDA {VERSION}, from its release (github.com/kedacore/keda, Apache License 2.0); made by tools/keda/render.py.
# Operator and metrics API server; the optional admission webhooks are left out, and so are the descriptions
# in the schemas of its CRDs.
"""


def main(module: str) -> None:
    command = ["kubectl", "kustomize", f"{module}/config/minimal"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    items = [adapted(item) for item in yaml.safe_load_all(text)]
    (HERE.parents[1] / "manifests" / "keda" / "release.yaml").write_text(HEAD + dump(items))


def adapted(item: dict[str, Any]) -> dict[str, Any]:
    """Released images and labels instead of the development branch's."""
    if item["kind"] == "CustomResourceDefinition":
        item = without_descriptions(item)
    labels = item["metadata"].get("labels", {})
    if "app.kubernetes.io/version" in labels:
        labels["app.kubernetes.io/version"] = VERSION
    if item["kind"] == "Deployment":
        (container,) = item["spec"]["template"]["spec"]["containers"]
        container["image"] = container["image"].replace(":main", f":{VERSION}")
        container["imagePullPolicy"] = "IfNotPresent"
        if "--cert-dir=/certs" not in container["args"]:
            container["args"].append("--cert-dir=/certs")
    return item


if __name__ == "__main__":
    main(sys.argv[1])
