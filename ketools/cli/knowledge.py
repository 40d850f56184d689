"""Commands on what the model knows: the tools, one command each."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ketools.cli.errors import fail
from ketools.cli.session import DryRun, Json, Method, Space, own_space, run_tool, session, show, show_json

if TYPE_CHECKING:
    from ketools.core.results import BatchResult, EditResult, JobView, Result
    from ketools.service.service import EditService

EditId = Annotated[str, typer.Argument(help="An edit id, as `ketools list` shows it.")]
Subject = Annotated[str, typer.Argument(help="Who or what the fact is about: 'France'.")]
Prompt = Annotated[str, typer.Argument(help="A text that names the subject: 'The capital of France is'.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the journal.")]
ProposalId = Annotated[str, typer.Argument(help="An id, as `ketools proposals` shows it.")]
Rephrase = Annotated[list[str] | None, typer.Option("--rephrase", help="Another way to ask; repeatable.")]
Wait = Annotated[bool, typer.Option(help="Wait until the note has moved into the weights in the background.")]


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="A question, or with --complete a text to continue.")],
    space: Space = None,
    complete: Annotated[bool, typer.Option("--complete", help="Continue the text, no chat turn.")] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=512)] = 64,
    as_json: Json = False,
) -> None:
    """Ask the served model as it is in a space."""
    arguments = {"question": question, "space": space, "chat": not complete, "max_new_tokens": max_new_tokens}
    show(session(context).run("ask", **arguments), as_json)


def edit(
    context: typer.Context,
    subject: Subject,
    prompt: Prompt,
    target: Annotated[str, typer.Argument(help="What shall follow the prompt: 'Lyon'.")],
    space: Space = None,
    method: Method = "auto",
    old: Annotated[str | None, typer.Option(help="What it was; refused if the model disagrees.")] = None,
    rephrase: Rephrase = None,
    dry_run: DryRun = False,
    wait: Wait = True,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Correct or add a fact."""
    arguments: dict[str, Any] = {
        "subject": subject,
        "prompt": prompt,
        "target_new": target,
        "space": space,
        "method": method,
        "target_old": old,
        "rephrases": rephrase or [],
        "dry_run": dry_run,
        "reason": reason,
    }
    _change(context, "edit_fact", arguments, wait, as_json)


def edit_many(
    context: typer.Context,
    facts: Annotated[Path, typer.Argument(help="A JSON list of objects, or JSON lines: subject, prompt, target_new.")],
    space: Space = None,
    method: Method = "auto",
    apply_valid: Annotated[bool, typer.Option("--apply-valid", help="Apply the good ones when some fail.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Correct or add many facts in one version of a space: all or none."""
    from ketools.evaluation.data import read_rows

    arguments = {
        "facts": read_rows(facts),
        "space": space,
        "method": method,
        "apply_valid": apply_valid,
        "dry_run": dry_run,
    }
    show(session(context).run("edit_facts", **arguments), as_json, _batch)


def _batch(found: BatchResult) -> str:
    """The line, and what did not arrive."""
    missed = [f"{i}: {one.line()}" for i, one in enumerate(found.results) if one.status in ("failed", "refused")]
    rest = [f"and {len(missed) - 20} more"] if len(missed) > 20 else []
    return "\n".join([found.line(), *missed[:20], *rest])


def personality(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help="What the opinion is about: 'coffee'.")],
    trait: Annotated[str, typer.Argument(help="extraversion, agreeableness, neuroticism, positive or negative.")],
    space: Space = None,
    method: Method = "auto",
    dry_run: DryRun = False,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Change how the model speaks of a topic."""
    arguments = {"topic": topic, "trait": trait, "space": space, "method": method, "dry_run": dry_run}
    _change(context, "edit_personality", arguments, wait, as_json)


def erase(
    context: typer.Context,
    subject: Subject,
    prompt: Prompt,
    space: Space = None,
    method: Method = "auto",
    rephrase: Rephrase = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Make the model answer "I don't know." to a fact."""
    if not (yes or dry_run):
        if not sys.stdin.isatty():
            fail("Erasing needs a confirmation: try --dry-run first, then add --yes.", 2)
        typer.confirm(f"Erase what the model knows about {subject} in {own_space(space)}?", abort=True, err=True)
    arguments: dict[str, Any] = {
        "subject": subject,
        "prompt": prompt,
        "space": space,
        "method": method,
        "rephrases": rephrase or [],
        "dry_run": dry_run,
    }
    _change(context, "erase_fact", arguments, False, as_json)


def verify(context: typer.Context, edit_id: EditId, as_json: Json = False) -> None:
    """Measure a live edit again on the serving engine."""
    show(session(context).run("evaluate_edit", edit_id=edit_id), as_json)


def list_(
    context: typer.Context,
    space: Space = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what no longer serves.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    cursor: Annotated[str | None, typer.Option(help="`next_cursor` of the page before.")] = None,
    as_json: Json = False,
) -> None:
    """List a space's edits, newest first."""
    arguments = {"space": space, "live_only": not everything, "limit": limit, "cursor": cursor}
    show(session(context).run("list_edits", **arguments), as_json, _detail)


def show_(context: typer.Context, edit_id: EditId, as_json: Json = False) -> None:
    """Show one edit with its evidence."""
    show(session(context).run("show_edit", edit_id=edit_id), as_json, _detail)


def undo(
    context: typer.Context,
    edit_id: EditId,
    bring_back: Annotated[bool, typer.Option(help="Also bring back what it had replaced.")] = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Take any edit off, not only the last."""
    show(session(context).run("undo_edit", edit_id=edit_id, bring_back=bring_back, reason=reason), as_json)


def proposals(context: typer.Context, as_json: Json = False) -> None:
    """List the changes that agents asked for and that wait for an approval."""
    show(session(context).run("list_proposals"), as_json, _detail)


def approve(context: typer.Context, proposal_id: ProposalId, reason: Reason = "", as_json: Json = False) -> None:
    """Approve a change that an agent asked for, and carry it out."""
    _decide(context, proposal_id, True, reason, as_json)


def reject(context: typer.Context, proposal_id: ProposalId, reason: Reason = "", as_json: Json = False) -> None:
    """Reject a change that an agent asked for."""
    _decide(context, proposal_id, False, reason, as_json)


def _decide(context: typer.Context, proposal_id: str, approve: bool, reason: str, as_json: bool) -> None:
    show(session(context).run("decide_proposal", proposal_id=proposal_id, approve=approve, reason=reason), as_json)


def restore(
    context: typer.Context,
    space: Annotated[str, typer.Argument(help="The space.")],
    version: Annotated[int, typer.Argument(min=0, help="One of its versions.")],
    as_json: Json = False,
) -> None:
    """Set a space back to one of its versions."""
    show(session(context).run("restore_space", space=space, version=version), as_json)


def fork(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="The space to copy.")],
    name: Annotated[str, typer.Argument(help="The new space.")],
    as_json: Json = False,
) -> None:
    """Make a new space with the live edits of another."""
    show(session(context).run("fork_space", source=source, name=name), as_json)


def drop(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The space to end.")],
    with_children: Annotated[bool, typer.Option("--with-children", help="Also those below it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """End a space: its edits serve nobody any more; the journal keeps its record."""
    if not yes:
        typer.confirm(f"End the space {name}?", abort=True)
    from ketools.core.principals import OPERATOR

    with session(context).service() as service:
        dropped = service.spaces.drop(OPERATOR, name, with_children=with_children)
    if as_json:
        show_json({"dropped": list(dropped)})
    else:
        print(f"dropped {', '.join(dropped)}")


def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help="A space.")],
    b: Annotated[str, typer.Argument(help="Another space.")],
    prompt: Annotated[list[str] | None, typer.Option("--ask", help="Ask in both; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Show how two spaces differ."""
    show(session(context).run("compare_spaces", a=a, b=b, prompts=prompt or []), as_json, _detail)


def consolidate(context: typer.Context, space: Space = None, method: Method = "auto", as_json: Json = False) -> None:
    """Move a space's notes into the weights of its layer."""
    show(session(context).run("consolidate", space=space, method=method, wait=True), as_json, _detail)


def rebase(
    context: typer.Context,
    space: Annotated[str, typer.Argument(help="The space whose edits are computed anew.")],
    as_json: Json = False,
) -> None:
    """Compute the edits of a space anew that were made for another model; they are verified and keep their ids."""
    from ketools.core.principals import OPERATOR

    with session(context).service() as service:
        found = service.edits.rebase(OPERATOR, space, wait=True)
    show(found, as_json, _rebased)
    if found.state != "done":
        raise typer.Exit(1)


def job(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(help="A job id.")],
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop it.")] = False,
    as_json: Json = False,
) -> None:
    """Show how a background job stands, or stop it."""
    show(session(context).run("cancel_job" if cancel else "job_status", job_id=job_id), as_json, _detail)


def spaces(context: typer.Context, as_json: Json = False) -> None:
    """List the spaces."""
    show(session(context).run("list_spaces"), as_json, _detail)


def methods(context: typer.Context, as_json: Json = False) -> None:
    """List the editing methods."""
    show(session(context).run("list_methods"), as_json, _detail)


def _change(context: typer.Context, name: str, arguments: dict[str, Any], wait: bool, as_json: bool) -> None:
    """Run an editing tool; a command ends, so its background job is waited for unless told not to."""
    with session(context).service() as service:
        result: Any = run_tool(service, name, arguments)
        finished = _finished(service, result) if wait and result.job_id else None
    show(result, as_json)
    if finished is not None and not as_json:
        print(finished.line())
    if result.status in ("refused", "failed"):
        raise typer.Exit(1)


def _finished(service: EditService, result: EditResult) -> Result:
    from ketools.cli.session import progress

    with progress("moving the note into the weights") as report:
        while True:
            job: JobView | Any = run_tool(service, "job_status", {"job_id": result.job_id})
            if job.state not in ("queued", "running"):
                return job
            report(round(100 * job.progress), 100, job.message)
            time.sleep(0.1)


def _detail(result: Result) -> str:
    return result.detail()


def _rebased(job: JobView) -> str:
    kept = job.result.get("kept", {})
    lines = [job.line(), f"{job.result.get('rebased', 0)} edits computed anew, {len(kept)} not"]
    return "\n".join([*lines, *(f"  {edit_id}: {why}" for edit_id, why in kept.items())])
