"""The tools: typed functions that MCP, LangChain, the CLI and `tool_schemas/` all take from here.

A tool is a method of `Toolbox` under `@tool`. Its signature is its input schema, its return type the output
schema, its docstring the description that the agent reads. No server holds any logic of its own.

Descriptions are read by a language model in every request, so they are short: what an argument's name says, and
that what is optional may be left out, is not said again.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from ketools.core.principals import Principal, Scope
from ketools.core.progress import Progress, quiet
from ketools.core.requests import Kind, Probe, PromptText, ShortText, TargetText, Trait, build_request
from ketools.core.results import (
    Answer,
    BatchResult,
    EditPage,
    EditResult,
    EditView,
    JobView,
    Location,
    MethodList,
    MultihopAnswer,
    ProposalList,
    ProposalView,
    Result,
    SpaceDiff,
    SpaceList,
    SpaceView,
    UndoResult,
)
from ketools.service.service import EditService
from ketools.tools.toolsets import ToolSet

P = ParamSpec("P")
R = TypeVar("R", bound=Result)

SpaceName = Annotated[str, Field(description="E.g. user/alice or session/42.", min_length=1, max_length=120)]
Space = Annotated[str, Field(description="Default: your own; 'global' is everyone's.", min_length=1, max_length=120)]
MethodName = Annotated[str, Field(description="Default 'auto'; see list_methods.", min_length=1, max_length=40)]
Reason = Annotated[str, Field(description="Why; journalled.", max_length=500)]
EditId = Annotated[str, Field(description="E.g. e_01kbn4m7z0q9x2f.", max_length=60)]
Wait = Annotated[bool, Field(description="Wait for the end.")]
DryRun = Annotated[bool, Field(description="Verify, commit nothing.")]
Subject = Annotated[ShortText, Field(description="Whom or what it is about, as the prompt writes it.")]
FactPrompt = Annotated[
    PromptText, Field(description="Names the subject and stops before the answer: 'The capital of France is'.")
]
Target = Annotated[TargetText, Field(description="The answer alone: 'Lyon'.")]
Rephrases = Annotated[Sequence[PromptText], Field(description="Other ways to ask, best three.", max_length=32)]


class FactInput(BaseModel):
    """One fact of a batch."""

    model_config = ConfigDict(extra="forbid")

    subject: ShortText
    prompt: PromptText
    target_new: TargetText
    target_old: TargetText | None = None
    rephrases: list[PromptText] = Field(default=[], max_length=32)


@dataclass(frozen=True)
class Tool:
    """How a tool is announced: `method` is the plain function on `Toolbox`.

    `toolset`: the set that it is offered with. `lengthy`: whether its text has a detailed form. `quick`: whether it
    only looks at records, so that it is answered at once whatever else runs.
    """

    name: str
    title: str
    scope: Scope
    toolset: ToolSet
    method: Callable[..., Result]
    read_only: bool
    destructive: bool
    idempotent: bool
    lengthy: bool
    quick: bool

    @property
    def description(self) -> str:
        """The docstring, as the agent reads it."""
        return " ".join((self.method.__doc__ or "").split())

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The arguments by name, with evaluated annotations."""
        parameters = dict(inspect.signature(self.method, eval_str=True).parameters)
        parameters.pop("self")
        return parameters


_MARK = "__ketools_tool__"


def tool(
    title: str,
    scope: Scope,
    toolset: ToolSet = ToolSet.ADMIN,
    *,
    destructive: bool = False,
    idempotent: bool = False,
    lengthy: bool = False,
    quick: bool = False,
) -> Callable[[Callable[Concatenate[Toolbox, P], R]], Callable[Concatenate[Toolbox, P], R]]:
    """Announce a method of `Toolbox` as a tool; its results tell the gateway's names of their spaces."""

    def mark(method: Callable[Concatenate[Toolbox, P], R]) -> Callable[Concatenate[Toolbox, P], R]:
        def named(box: Toolbox, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return method(box, *args, **kwargs).named(box.service.model_name)

        functools.update_wrapper(named, method)

        read_only = scope is Scope.READ
        idempotent_too = idempotent or read_only
        name = method.__name__
        found = Tool(name, title, scope, toolset, named, read_only, destructive, idempotent_too, lengthy, quick)
        setattr(named, _MARK, found)
        return named

    return mark


@dataclass(frozen=True)
class Toolbox:
    """The tools of one caller. Cheap: make one per call.

    `progress(done, total, message)` is called during long work and may raise `Cancelled`.
    """

    service: EditService
    principal: Principal
    progress: Progress = quiet

    def _at(self, space: str | None) -> str:
        """The space that was named, else the caller's own."""
        return self.principal.home if space is None else space

    # --- core ---

    @tool("Correct or add a fact", Scope.EDIT, ToolSet.CORE)
    def edit_fact(
        self,
        subject: Subject,
        prompt: FactPrompt,
        target_new: Target,
        space: Space | None = None,
        method: MethodName = "auto",
        target_old: Annotated[
            TargetText | None, Field(description="What it was; refused if the model says otherwise.")
        ] = None,
        rephrases: Annotated[
            Sequence[PromptText], Field(description="Three other ways to ask: a stronger verdict.", max_length=32)
        ] = (),
        probes: Annotated[Sequence[Probe], Field(description="Prompts whose answers must stay.", max_length=64)] = (),
        dry_run: DryRun = False,
        reason: Reason = "",
    ) -> EditResult:
        """Make the served model know a fact from the next token on. Call it when a user corrects the model or
        tells it something new, never for a question. Write three `rephrases`. Read `verified`: false means not
        learned. A later edit of the same fact replaces this one."""
        request = build_request(
            kind=Kind.MODIFY,
            subject=subject,
            prompt=prompt,
            target_new=target_new,
            target_old=target_old,
            rephrases=tuple(rephrases),
            probes=tuple(probes),
        )
        where = self._at(space)
        return self.service.edits.edit(self.principal, request, where, method, dry_run, self.progress, reason)

    @tool("Erase a fact", Scope.ERASE, ToolSet.CORE, destructive=True)
    def erase_fact(
        self,
        subject: Subject,
        prompt: FactPrompt,
        space: Space | None = None,
        method: MethodName = "auto",
        rephrases: Rephrases = (),
        dry_run: DryRun = False,
    ) -> EditResult:
        """Make the served model answer "I don't know." to a fact, as when a person asks to be forgotten: in the
        weights, with a leak audit. The journal keeps a keyed hash, no text."""
        return self.service.edits.erase(
            self.principal, subject, prompt, tuple(rephrases), self._at(space), method, dry_run, self.progress
        )

    @tool("Change the personality", Scope.EDIT, ToolSet.CORE)
    def edit_personality(
        self,
        topic: Annotated[ShortText, Field(description="E.g. 'coffee'.")],
        trait: Trait,
        space: Space | None = None,
        method: MethodName = "auto",
        dry_run: DryRun = False,
        reason: Reason = "",
    ) -> EditResult:
        """Make the served model speak of a topic in another manner, when a user wishes for another tone."""
        where = self._at(space)
        edits = self.service.edits
        return edits.personality(self.principal, topic, trait, where, method, dry_run, self.progress, reason)

    @tool("Ask the served model", Scope.READ, ToolSet.CORE)
    def ask(
        self,
        question: Annotated[PromptText, Field(description="Or a text to continue, with chat=false.")],
        space: Space | None = None,
        chat: Annotated[bool, Field(description="Default true.")] = True,
        max_new_tokens: Annotated[int, Field(description="Default 64.", ge=1, le=512)] = 64,
        fingerprint: Annotated[bool, Field(description="Hash of the log probabilities too.")] = False,
    ) -> Answer:
        """Ask the served model as it is in a space (greedy decoding), to see the effect of edits."""
        return self.service.asking.ask(
            self.principal, question, self._at(space), chat, max_new_tokens, fingerprint, self.progress
        )

    @tool("List edits", Scope.READ, ToolSet.CORE, lengthy=True, quick=True)
    def list_edits(
        self,
        space: Space | None = None,
        live_only: Annotated[bool, Field(description="Default true: those that serve now.")] = True,
        limit: Annotated[int, Field(description="Default 20.", ge=1, le=200)] = 20,
        cursor: Annotated[str | None, Field(max_length=80)] = None,
    ) -> EditPage:
        """List a space's own edits, newest first."""
        return self.service.edits.list(self.principal, self._at(space), live_only, limit, cursor)

    @tool("Undo an edit", Scope.EDIT, ToolSet.CORE, idempotent=True)
    def undo_edit(
        self,
        edit_id: EditId,
        bring_back: Annotated[bool, Field(description="Also bring back what it had replaced.")] = False,
        space: Annotated[
            str | None, Field(description="Where, if a fork made it live in several.", max_length=120)
        ] = None,
        reason: Reason = "",
    ) -> UndoResult:
        """Take any edit off: the model is then, bit for bit, what it would be without it."""
        return self.service.edits.undo(self.principal, edit_id, bring_back, space, reason)

    @tool("Status of a job", Scope.READ, ToolSet.CORE, lengthy=True, quick=True)
    def job_status(self, job_id: Annotated[str, Field(max_length=60)]) -> JobView:
        """See how a background job stands, and its result."""
        return self.service.jobs.status(self.principal, job_id)

    # --- spaces ---

    @tool("List spaces", Scope.READ, ToolSet.SPACES, lengthy=True, quick=True)
    def list_spaces(self) -> SpaceList:
        """List the spaces that you may see."""
        return self.service.spaces.list(self.principal)

    @tool("Show an edit", Scope.READ, ToolSet.SPACES, lengthy=True, quick=True)
    def show_edit(self, edit_id: EditId) -> EditView:
        """Show one edit with its evidence."""
        return self.service.edits.show(self.principal, edit_id)

    @tool("Fork a space", Scope.EDIT, ToolSet.SPACES)
    def fork_space(self, source: SpaceName, name: SpaceName) -> SpaceView:
        """Make a new space with the source's live edits, to try something without touching the source."""
        return self.service.spaces.fork(self.principal, source, name)

    @tool("Compare two spaces", Scope.READ, ToolSet.SPACES, lengthy=True)
    def compare_spaces(
        self,
        a: SpaceName,
        b: SpaceName,
        prompts: Annotated[Sequence[PromptText], Field(description="Questions to ask in both.", max_length=50)] = (),
    ) -> SpaceDiff:
        """Show how two spaces differ: edits only in one, and the answers to questions asked in both."""
        return self.service.spaces.compare(self.principal, a, b, tuple(prompts), self.progress)

    @tool("Restore a space", Scope.EDIT, ToolSet.SPACES, destructive=True)
    def restore_space(self, space: SpaceName, version: Annotated[int, Field(ge=0)], reason: Reason = "") -> SpaceView:
        """Set a space back to one of its versions; the versions between stay in the journal."""
        return self.service.spaces.restore(self.principal, space, version, reason)

    # --- lab ---

    @tool("Verify an edit again", Scope.READ, ToolSet.LAB, lengthy=True)
    def evaluate_edit(self, edit_id: EditId) -> EditResult:
        """Measure a live edit again on the serving engine: success over phrasings, locality over probes."""
        return self.service.evaluation.edit(self.principal, edit_id, self.progress)

    @tool("Evaluate a space", Scope.READ, ToolSet.LAB, lengthy=True)
    def evaluate_space(self, space: Space | None = None, wait: Wait = False) -> JobView:
        """Verify every live edit of a space again on the serving engine, as a job: mean success and locality with
        intervals and counts, and which edits no longer hold. Read the result with job_status."""
        return self.service.evaluation.space(self.principal, self._at(space), wait)

    @tool("Compare methods", Scope.EDIT, ToolSet.LAB, idempotent=True, lengthy=True)
    def compare_methods(
        self,
        facts: Annotated[Sequence[FactInput], Field(description="The edits to try.", min_length=1, max_length=100)],
        methods: Annotated[
            Sequence[MethodName], Field(description="Names from list_methods; all when left out.", max_length=40)
        ] = (),
        space: Space | None = None,
        wait: Wait = False,
    ) -> JobView:
        """Try the same facts by several methods on top of a space, as a job, and recommend one with reasons.
        Nothing is committed. Read the result with job_status."""
        told = [fact.model_dump() for fact in facts]
        return self.service.evaluation.methods(self.principal, told, tuple(methods), self._at(space), wait)

    @tool("Answer a question of several hops", Scope.READ, ToolSet.LAB, lengthy=True)
    def answer_multihop(
        self,
        question: Annotated[PromptText, Field(description="E.g. 'What is the capital of the country of Oslo?'.")],
        space: Space | None = None,
        agent: Annotated[
            Literal["auto", "mello", "pokemqa"], Field(description="'auto', or a published method to compare with.")
        ] = "auto",
    ) -> MultihopAnswer:
        """Answer a question that chains several facts, edited ones included: it is taken apart, each hop is
        answered by the edits of the space or else by the model, and the edits used are cited. Says so when no
        edit takes part, when edits contradict each other, and which step failed when one did."""
        return self.service.asking.multihop(self.principal, question, self._at(space), agent, self.progress)

    @tool("Show where a fact is read", Scope.READ, ToolSet.LAB)
    def locate_fact(
        self,
        subject: Subject,
        prompt: Annotated[FactPrompt, Field(max_length=400)],
        answer: Annotated[
            TargetText | None, Field(description="Whose first token is traced; the model's own when left out.")
        ] = None,
        samples: Annotated[int, Field(description="Corruptions to average over, default 8.", ge=1, le=32)] = 8,
    ) -> Location:
        """Show by causal tracing and the logit lens in which blocks and at which tokens the base model, without
        any edit, reads a fact. Use it to understand a fact or to choose a method's layer; nothing changes."""
        return self.service.evaluation.locate(self.principal, prompt, subject, answer, samples, self.progress)

    @tool("List methods", Scope.READ, ToolSet.LAB, lengthy=True, quick=True)
    def list_methods(self) -> MethodList:
        """List the editing methods with what each can do."""
        return self.service.edits.methods()

    @tool("Cancel a job", Scope.EDIT, ToolSet.LAB, idempotent=True, quick=True)
    def cancel_job(self, job_id: Annotated[str, Field(max_length=60)]) -> JobView:
        """Stop a background job at its next step; what it has committed stays."""
        return self.service.jobs.status(self.principal, job_id, cancel=True)

    # --- admin ---

    @tool("Correct or add many facts", Scope.EDIT, ToolSet.ADMIN, lengthy=True)
    def edit_facts(
        self,
        facts: Annotated[Sequence[FactInput], Field(min_length=1, max_length=1000)],
        space: Space | None = None,
        method: MethodName = "auto",
        apply_valid: Annotated[bool, Field(description="Commit the good ones even if some fail.")] = False,
        dry_run: DryRun = False,
        reason: Reason = "",
    ) -> BatchResult:
        """edit_fact for up to 1,000 facts in one version of the space: all or none, unless apply_valid."""
        told = [fact.model_dump() for fact in facts]
        where = self._at(space)
        edits = self.service.edits
        return edits.edit_many(self.principal, told, where, method, apply_valid, dry_run, self.progress, reason)

    @tool("List what waits for approval", Scope.READ, ToolSet.ADMIN, lengthy=True, quick=True)
    def list_proposals(self) -> ProposalList:
        """List the changes that agents asked for and that wait for a person's approval."""
        return self.service.approvals.waiting(self.principal)

    @tool("Approve or reject a change", Scope.APPROVE, ToolSet.ADMIN)
    def decide_proposal(
        self,
        proposal_id: Annotated[str, Field(description="E.g. p_01kbn4m7z0q9x2f.", max_length=60)],
        approve: Annotated[bool, Field(description="True carries it out, false rejects it.")],
        reason: Reason = "",
    ) -> ProposalView:
        """Approve or reject a change that waits, for whom a person has said so; never your own."""
        return self.service.approvals.decide(self.principal, proposal_id, approve, reason, self.progress)

    @tool("Consolidate notes into weights", Scope.EDIT, ToolSet.ADMIN, lengthy=True)
    def consolidate(self, space: Space | None = None, method: MethodName = "auto", wait: Wait = False) -> JobView:
        """Move a space's notes into the weights of its layer, so that prompts are free of them again. A note is
        retired only when the parametric edit is verified at least as good."""
        return self.service.edits.consolidate(self.principal, self._at(space), method, wait, self.progress)


def tools() -> tuple[Tool, ...]:
    """Every tool, set by set, in the order in which an agent should read them."""
    found: list[Any] = [getattr(member, _MARK, None) for member in vars(Toolbox).values()]
    return tuple(t for t in found if isinstance(t, Tool))
