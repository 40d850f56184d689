"""The kinds of background jobs, and what does one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ketools.core.progress import Progress

CONSOLIDATE = "consolidate"
EVALUATE_SPACE = "evaluate_space"
COMPARE_METHODS = "compare_methods"
REBASE = "rebase"
JOB_KINDS = (CONSOLIDATE, EVALUATE_SPACE, COMPARE_METHODS, REBASE)

Handler = Callable[[str, Mapping[str, Any], Progress], dict[str, Any]]
"""Does a job: space, arguments, progress -> result. It may be run again after it was interrupted."""
