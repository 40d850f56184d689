"""The tools: typed functions that MCP, LangChain, the CLI and `tool_schemas/` all take from here.

A tool is a method of `Toolbox` under `@tool`. Its signature is its input schema, its return type the output
schema, its docstring the description that the agent reads. No server holds any logic of its own.
"""

from __future__ import annotations

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
    Result,
    SpaceDiff,
    SpaceList,
    SpaceView,
    UndoResult,
)
from ketools.service.service import EditService

P = ParamSpec("P")
R = TypeVar("R", bound=Result)

Space = Annotated[
    str,
    Field(
        description="The space: 'global' (everyone), 'user/NAME', 'session/ID' or 'session/NAME/ID'. "
        "User and session spaces are made on first edit.",
        min_length=1,
        max_length=120,
    ),
]
MethodName = Annotated[str, Field(description="'auto', or a name from list_methods.", min_length=1, max_length=40)]
EditId = Annotated[str, Field(description="An id such as e_01ab..., from an edit's result.", max_length=60)]
Wait = Annotated[bool, Field(description="Wait for the end instead of returning a job.")]
DryRun = Annotated[bool, Field(description="Compute and verify, commit nothing.")]
Subject = Annotated[ShortText, Field(description="Who or what the fact is about, as written in the prompt.")]
FactPrompt = Annotated[
    PromptText,
    Field(description="A sentence to complete or a question that names the subject: 'The capital of France is'."),
]


class FactInput(BaseModel):
    """One fact of a batch."""

    model_config = ConfigDict(extra="forbid")

    subject: Subject
    prompt: FactPrompt
    target_new: TargetText
    target_old: TargetText | None = None
    rephrases: list[PromptText] = Field(default=[], max_length=32)


@dataclass(frozen=True)
class Tool:
    """How a tool is announced: `method` is the plain function on `Toolbox`."""

    name: str
    title: str
    scope: Scope
    method: Callable[..., Result]
    read_only: bool
    destructive: bool
    idempotent: bool

    @property
    def description(self) -> str:
        """The docstring, as the agent reads it."""
        return " ".join((self.method.__doc__ or "").split())


_MARK = "__ketools_tool__"


def tool(
    title: str, scope: Scope, *, destructive: bool = False, idempotent: bool = False
) -> Callable[[Callable[Concatenate[Toolbox, P], R]], Callable[Concatenate[Toolbox, P], R]]:
    """Announce a method of `Toolbox` as a tool."""

    def mark(method: Callable[Concatenate[Toolbox, P], R]) -> Callable[Concatenate[Toolbox, P], R]:
        read_only = scope is Scope.READ
        setattr(
            method,
            _MARK,
            Tool(method.__name__, title, scope, method, read_only, destructive, idempotent or read_only),
        )
        return method

    return mark


@dataclass(frozen=True)
class Toolbox:
    """The tools of one caller. Cheap: make one per call.

    `progress(done, total, message)` is called during long work and may raise `Cancelled`.
    """

    service: EditService
    principal: Principal
    progress: Progress = quiet

    @tool("Correct or add a fact", Scope.EDIT)
    def edit_fact(
        self,
        subject: Subject,
        prompt: FactPrompt,
        target_new: Annotated[TargetText, Field(description="What shall follow the prompt: 'Lyon'.")],
        space: Space = "global",
        method: MethodName = "auto",
        target_old: Annotated[
            TargetText | None, Field(description="What it was; refuses if the model says otherwise.")
        ] = None,
        rephrases: Annotated[
            Sequence[PromptText],
            Field(description="Other ways to ask; made from templates when left out.", max_length=32),
        ] = (),
        probes: Annotated[
            Sequence[Probe],
            Field(description="Prompts whose answers must not change; made when left out.", max_length=64),
        ] = (),
        dry_run: DryRun = False,
    ) -> EditResult:
        """Make the served model know a fact from the next token on, in one space. Use it when a user corrects
        the model or tells it something new. The result is verified on the serving engine: check `verified`.
        A later edit of the same fact replaces the earlier one; undo_edit takes it back bit for bit."""
        request = build_request(
            kind=Kind.MODIFY,
            subject=subject,
            prompt=prompt,
            target_new=target_new,
            target_old=target_old,
            rephrases=tuple(rephrases),
            probes=tuple(probes),
        )
        return self.service.edits.edit(self.principal, request, space, method, dry_run, self.progress)

    @tool("Correct or add many facts", Scope.EDIT)
    def edit_facts(
        self,
        facts: Annotated[Sequence[FactInput], Field(min_length=1, max_length=1000)],
        space: Space = "global",
        method: MethodName = "auto",
        apply_valid: Annotated[
            bool, Field(description="Commit the good ones even if some fail; otherwise all or none.")
        ] = False,
        dry_run: DryRun = False,
    ) -> BatchResult:
        """Like edit_fact for up to 1,000 facts in one version of the space: all or none, unless apply_valid."""
        return self.service.edits.edit_many(
            self.principal,
            [fact.model_dump() for fact in facts],
            space,
            method,
            apply_valid,
            dry_run,
            self.progress,
        )

    @tool("Erase a fact", Scope.ERASE, destructive=True)
    def erase_fact(
        self,
        subject: Subject,
        prompt: FactPrompt,
        space: Space = "global",
        method: MethodName = "auto",
        rephrases: Annotated[Sequence[PromptText], Field(max_length=32)] = (),
        dry_run: DryRun = False,
    ) -> EditResult:
        """Make the served model answer "I don't know." to a fact, as when a person asks to be forgotten. The
        change goes into the weights of the layer and a leak audit is part of its verification. The journal
        keeps a keyed hash instead of the text."""
        return self.service.edits.erase(
            self.principal, subject, prompt, tuple(rephrases), space, method, dry_run, self.progress
        )

    @tool("Change the personality", Scope.EDIT)
    def edit_personality(
        self,
        topic: Annotated[ShortText, Field(description="What the opinion is about: 'coffee'.")],
        trait: Annotated[Trait, Field(description="The manner to show.")],
        space: Space = "global",
        method: MethodName = "auto",
        dry_run: DryRun = False,
    ) -> EditResult:
        """Make the served model speak of a topic in another manner. Use it when a user wishes for another tone."""
        return self.service.edits.personality(self.principal, topic, trait, space, method, dry_run, self.progress)

    @tool("Ask the served model", Scope.READ)
    def ask(
        self,
        question: Annotated[PromptText, Field(description="A question, or a text to continue.")],
        space: Space = "global",
        chat: Annotated[bool, Field(description="Ask as a chat turn; otherwise continue the text.")] = True,
        max_new_tokens: Annotated[int, Field(ge=1, le=512)] = 64,
        fingerprint: Annotated[
            bool, Field(description="Also give a hash of the log probabilities, to compare bit for bit.")
        ] = False,
    ) -> Answer:
        """Ask the served model as it is in a space (greedy decoding). Use it to see the effect of edits."""
        return self.service.asking.ask(
            self.principal, question, space, chat, max_new_tokens, fingerprint, self.progress
        )

    @tool("Verify an edit again", Scope.READ)
    def evaluate_edit(self, edit_id: EditId) -> EditResult:
        """Measure a live edit again on the serving engine: success over phrasings, locality over probes."""
        return self.service.evaluation.edit(self.principal, edit_id, self.progress)

    @tool("Evaluate a space", Scope.READ)
    def evaluate_space(self, space: Space = "global", wait: Wait = False) -> JobView:
        """Verify every live edit of a space again on the serving engine, as a job: mean success and locality with
        intervals and counts, and which edits no longer hold. Read the result with job_status."""
        return self.service.evaluation.space(self.principal, space, wait)

    @tool("Compare methods", Scope.EDIT, idempotent=True)
    def compare_methods(
        self,
        facts: Annotated[Sequence[FactInput], Field(description="The edits to try.", min_length=1, max_length=100)],
        methods: Annotated[
            Sequence[MethodName], Field(description="Names from list_methods; all when left out.", max_length=40)
        ] = (),
        space: Space = "global",
        wait: Wait = False,
    ) -> JobView:
        """Try the same facts by several methods on top of a space, as a job, and recommend one with reasons.
        Nothing is committed. Read the result with job_status."""
        told = [fact.model_dump() for fact in facts]
        return self.service.evaluation.methods(self.principal, told, tuple(methods), space, wait)

    @tool("List edits", Scope.READ)
    def list_edits(
        self,
        space: Space = "global",
        live_only: Annotated[bool, Field(description="Only those that serve now.")] = True,
        limit: Annotated[int, Field(ge=1, le=200)] = 20,
        cursor: Annotated[str | None, Field(max_length=80)] = None,
    ) -> EditPage:
        """List a space's own edits, newest first."""
        return self.service.edits.list(self.principal, space, live_only, limit, cursor)

    @tool("Show an edit", Scope.READ)
    def show_edit(self, edit_id: EditId) -> EditView:
        """Show one edit with its evidence."""
        return self.service.edits.show(self.principal, edit_id)

    @tool("Answer a question of several hops", Scope.READ)
    def answer_multihop(
        self,
        question: Annotated[PromptText, Field(description="E.g. 'What is the capital of the country of Oslo?'.")],
        space: Space = "global",
        agent: Annotated[
            Literal["auto", "mello", "pokemqa"], Field(description="'auto', or a published method to compare with.")
        ] = "auto",
    ) -> MultihopAnswer:
        """Answer a question that chains several facts, edited ones included: it is taken apart, each hop is
        answered by the edits of the space or else by the model, and the edits used are cited. Says so when no
        edit takes part, when edits contradict each other, and which step failed when one did."""
        return self.service.asking.multihop(self.principal, question, space, agent, self.progress)

    @tool("Show where a fact is read", Scope.READ)
    def locate_fact(
        self,
        subject: Subject,
        prompt: Annotated[FactPrompt, Field(max_length=400)],
        answer: Annotated[
            TargetText | None, Field(description="Whose first token is traced; the model's own when left out.")
        ] = None,
        samples: Annotated[int, Field(description="Corruptions to average over.", ge=1, le=32)] = 8,
    ) -> Location:
        """Show by causal tracing and the logit lens in which blocks and at which tokens the base model, without
        any edit, reads a fact. Use it to understand a fact or to choose a method's layer; nothing changes."""
        return self.service.evaluation.locate(self.principal, prompt, subject, answer, samples, self.progress)

    @tool("Undo an edit", Scope.EDIT, idempotent=True)
    def undo_edit(
        self,
        edit_id: EditId,
        bring_back: Annotated[bool, Field(description="Also bring back the edits that this one had replaced.")] = False,
        space: Annotated[
            str | None, Field(description="Where, if it is live in several spaces, as after a fork.", max_length=120)
        ] = None,
    ) -> UndoResult:
        """Take any edit off, not only the last: the model is then what it would be without it, bit for bit."""
        return self.service.edits.undo(self.principal, edit_id, bring_back, space)

    @tool("Restore a space", Scope.EDIT, destructive=True)
    def restore_space(self, space: Space, version: Annotated[int, Field(ge=0)]) -> SpaceView:
        """Set a space back to one of its versions; the versions between stay in the journal."""
        return self.service.spaces.restore(self.principal, space, version)

    @tool("Fork a space", Scope.EDIT)
    def fork_space(self, source: Space, name: Space) -> SpaceView:
        """Make a new space with the source's live edits, to try something without touching the source."""
        return self.service.spaces.fork(self.principal, source, name)

    @tool("Compare two spaces", Scope.READ)
    def compare_spaces(
        self,
        a: Space,
        b: Space,
        prompts: Annotated[Sequence[PromptText], Field(description="Questions to ask in both.", max_length=50)] = (),
    ) -> SpaceDiff:
        """Show how two spaces differ: edits only in one, and the answers to questions asked in both."""
        return self.service.spaces.compare(self.principal, a, b, tuple(prompts), self.progress)

    @tool("Consolidate notes into weights", Scope.EDIT)
    def consolidate(
        self,
        space: Space = "global",
        method: MethodName = "auto",
        wait: Wait = False,
    ) -> JobView:
        """Move a space's notes into the weights of its layer, so that prompts are free of them again. A note is
        retired only when the parametric edit is verified at least as good."""
        return self.service.edits.consolidate(self.principal, space, method, wait, self.progress)

    @tool("Status of a job", Scope.READ)
    def job_status(
        self,
        job_id: Annotated[str, Field(max_length=60)],
        action: Annotated[Literal["show", "cancel"], Field(description="Look, or stop it.")] = "show",
    ) -> JobView:
        """See how a background job stands, or cancel it."""
        return self.service.jobs.status(self.principal, job_id, cancel=action == "cancel")

    @tool("List methods", Scope.READ)
    def list_methods(self) -> MethodList:
        """List the editing methods with what each can do."""
        return self.service.edits.methods()

    @tool("List spaces", Scope.READ)
    def list_spaces(self) -> SpaceList:
        """List the spaces that you may see."""
        return self.service.spaces.list(self.principal)


def tools() -> tuple[Tool, ...]:
    """Every tool, in the order in which an agent should read them."""
    found: list[Any] = [getattr(member, _MARK, None) for member in vars(Toolbox).values()]
    return tuple(t for t in found if isinstance(t, Tool))
