"""What a result says was done, for taking it back."""

from __future__ import annotations

from ketools.core.results import BatchResult, EditResult, JobView, Result, SpaceView, UndoResult


def version_of(result: Result) -> tuple[str, int] | None:
    """The space and the version that a call made; None where it made none."""
    match result:
        case EditResult() | BatchResult() | UndoResult():
            made, space = result.version, result.space
        case SpaceView():
            made, space = result.version, result.name
        case _:
            return None
    return (space, made) if made else None


def jobs_of(result: Result) -> set[str]:
    """The jobs that a call began."""
    if isinstance(result, BatchResult):
        return {one.job_id for one in result.results if one.job_id}
    return {result.job_id} if isinstance(result, EditResult | JobView) and result.job_id else set()
