"""Running notebooks in order, headless, with papermill: progress, resuming, summaries and one report."""

import sys
from typing import Any, cast

# nbformat loads jsonschema, and that a grammar of internationalized addresses where it can: over a second of every run,
# for a check that no notebook's schema asks for. A name that stands for None counts as not installed.
cast(dict[str, Any], sys.modules).setdefault("rfc3987_syntax", None)
