"""Computes a space's edits anew for the model at hand, when they were made for another one. Edits keep their ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ketools.core.errors import Conflict, Diverged, InvalidRequest
from ketools.core.jobs import Handler
from ketools.core.progress import Progress
from ketools.core.requests import EditRequest, Kind
from ketools.editing.pipeline import EditPipeline, with_old_answer
from ketools.journal import EditRecord, Rendition, scrub
from ketools.knowledge.probing import with_relation
from ketools.layers.artefacts import Scoped, SealedRequest
from ketools.layers.composition import LiveEdit

ERASED = "The text of this erased fact is not kept, so it cannot be computed anew: erase the fact again."


def rebasing(pipeline: EditPipeline) -> Handler:
    """The job of computing a space's own edits anew. It may run again: what is served by now is left as it is.

    Returns `{"rebased": count, "edits": ids, "kept": {id: why it is still not served}, "model": hash}`.
    """

    def run(space: str, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        records = [record for record in pipeline.spaces.live(space) if pipeline.spaces.objection(record)]
        done: list[str] = []
        kept: dict[str, str] = {}
        for i, record in enumerate(records):

            def report(step: int, steps: int, message: str, i: int = i) -> None:
                progress(round(1000 * (i + step / max(steps, 1))), 1000 * len(records), message)

            report(0, 1, f"computing {record.id}")
            if why := _rebase(pipeline, record, report):
                kept[record.id] = why
            else:
                done.append(record.id)
        return {"rebased": len(done), "edits": done, "kept": kept, "model": pipeline.engine.model_hash}

    return run


def _rebase(pipeline: EditPipeline, record: EditRecord, progress: Progress) -> str:
    """Compute one edit on top of what its space serves, verify it and journal it; or why that cannot be."""
    request = _request(pipeline, record)
    if request is None:
        return ERASED
    try:
        with pipeline.verifier.forgetting([request]):
            rendition = _rendition(pipeline, record, request, progress)
        version = pipeline.journal.head(record.space).version
        pipeline.journal.render(record.space, version, [rendition], f"rebase of {record.id}")
    except (Diverged, InvalidRequest, Conflict) as error:
        return scrub(str(error), request)
    return ""


def _request(pipeline: EditPipeline, record: EditRecord) -> EditRequest | None:
    """What the edit asked for; of an erasure only what its artefact has sealed, if it has."""
    if record.kind is not Kind.ERASE:
        return with_relation(EditRequest.model_validate({**record.request, "target_old": None}))
    made = pipeline.store.get(record.artefact or "")
    if isinstance(made, Scoped) and isinstance(made.request, SealedRequest):
        return made.request.opened(pipeline.journal.unseal)
    return None


def _rendition(pipeline: EditPipeline, record: EditRecord, request: EditRequest, progress: Progress) -> Rendition:
    """Raises `InvalidRequest` when verification objects."""
    before = pipeline.spaces.layer(record.space)
    if request.kind is not Kind.ERASE:
        request = with_old_answer(request, pipeline.verifier.phrasing_answers(request, before)[0])
    (computed,) = pipeline.editor.compute(record.method, [request], before, progress=progress)
    made = pipeline.sealed(computed, request)
    name = pipeline.store.put(made)
    after = before.with_edits(LiveEdit(record.id, name, made))
    residual = pipeline.engine.apply_layer(after)
    evidence = pipeline.verifier.verify(request, before, after).evidence.model_copy(update={"residual": residual})
    if objection := pipeline.policy.objection(request, evidence):
        raise InvalidRequest(objection)
    return Rendition(record.id, pipeline.engine.model_hash, made.form, name, evidence)
