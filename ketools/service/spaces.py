"""Spaces as their owners see them. Only comparing answers needs the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ketools.core.errors import Forbidden, NotFound
from ketools.core.principals import Principal, Scope
from ketools.core.progress import Progress, quiet
from ketools.core.requests import Prompt, chat_prompt
from ketools.core.results import SpaceDiff, SpaceList, SpaceView
from ketools.core.space_names import parent_of
from ketools.journal import ROOT
from ketools.service.backend import Backend
from ketools.service.changes import Change
from ketools.service.gate import Gate
from ketools.service.views import edit_view
from ketools.service.visibility import Visibility, for_caller

SELF_MADE = ("user", "session")
"""The first segments of spaces that are made on first edit."""


@dataclass(frozen=True)
class SpaceAccess:
    """List, fork, restore, drop and compare spaces; user and session spaces are made on first edit."""

    backend: Backend

    @property
    def gate(self) -> Gate:
        """Holds the changes that need a person."""
        return Gate(self.backend.policy, self)

    @for_caller
    def list(self, who: Principal) -> SpaceList:
        """The spaces that the principal may read."""
        who.require_scope(Scope.READ)
        seen = [s.name for s in self.backend.journal.spaces() if who.reads(s.name)]
        return SpaceList(spaces=tuple(self._view(name) for name in seen))

    @for_caller
    def restore(self, who: Principal, space: str, version: int, reason: str = "") -> SpaceView:
        """Set a space back to one of its versions."""
        who.require(Scope.EDIT, space)
        self.backend.require_follower(space)
        self.backend.journal.version(space, version)
        self.gate.check(who, Change("restore", space, options={"version": version}), who.by(reason))
        self.backend.spaces.restore(space, version, lift=who.may(Scope.ERASE), by=who.by(reason))
        self.backend.head_moved(space)
        return self._view(space)

    @for_caller
    def fork(self, who: Principal, source: str, name: str) -> SpaceView:
        """A new space with the source's live edits and parent."""
        readable(self.backend, who, source)
        who.require(Scope.EDIT, name)
        self.backend.spaces.fork(source, name, owner=who.name, by=who.by())
        return self._view(name)

    @for_caller
    def drop(self, who: Principal, name: str, *, with_children: bool = False) -> tuple[str, ...]:
        """End a space; its edits serve nobody any more, its record stays. Returns the names that were dropped.

        Raises `Forbidden`, `NotFound`, and `InvalidRequest` for the root or children that are not to go too.
        """
        who.require(Scope.ADMIN, name)
        return self.backend.spaces.drop(name, with_children=with_children, by=who.by())

    @for_caller
    def compare(
        self, who: Principal, a: str, b: str, prompts: Sequence[str] = (), progress: Progress = quiet
    ) -> SpaceDiff:
        """Edits only in one of two spaces, and both answers to each prompt."""
        one, two = (readable(self.backend, who, name) for name in (a, b))
        diff = self.backend.spaces.diff(one, two)
        answers = zip(prompts, *(self._answers(prompts, name, progress) for name in (one, two)), strict=True)
        return SpaceDiff(
            a=a,
            b=b,
            only_a=tuple(
                edit_view(r, {r.id}, self.backend.spaces) for r in (*diff.only_a, *(mine for mine, _ in diff.changed))
            ),
            only_b=tuple(
                edit_view(r, {r.id}, self.backend.spaces) for r in (*diff.only_b, *(other for _, other in diff.changed))
            ),
            answers=tuple({"prompt": prompt, "a": in_a, "b": in_b} for prompt, in_a, in_b in answers),
        )

    def _answers(self, prompts: Sequence[str], space: str, progress: Progress) -> Sequence[str]:
        if not prompts:
            return ()
        runtime = self.backend.runtime(progress)
        asked: list[Prompt] = [chat_prompt(prompt) for prompt in prompts]
        return runtime.verifier.answers(asked, runtime.spaces.layer(space))

    def ensure(self, who: Principal, name: str) -> bool:
        """Make a user or session space on first edit; any other unknown name is an error."""
        if self.exists(who, name):
            return False
        parent = parent_of(name)
        if parent != ROOT:
            self.ensure(who, parent)
        return self.backend.spaces.ensure(name, parent, owner=who.name)

    def ensure_own(self, who: Principal, name: str) -> None:
        """Make the caller's own space, which a call may mean before anything was edited in it; no other."""
        if who.lives_in(name):
            self.ensure(who, name)

    def exists(self, who: Principal, name: str) -> bool:
        """Whether there is a space that the principal may edit, or (False) one can be made on first edit.

        Raises `NotFound` for any other name, `Forbidden`.
        """
        try:
            state = self.backend.spaces.state(name)
        except NotFound:
            if not is_self_made(name):
                raise
            return False
        Visibility(self.backend.journal, who).require_chain(state)
        space = state.space
        if space.owner not in (None, who.name) and not who.owns(name):
            raise Forbidden(f"The space {name!r} belongs to {space.owner}.")
        return True

    def _view(self, name: str) -> SpaceView:
        journal = self.backend.journal
        space, head = journal.space(name), journal.head(name)
        return SpaceView(
            name=name,
            parent=space.parent,
            owner=space.owner or "",
            version=head.version,
            live=len(head.live),
            layer_hash=self.backend.spaces.layer_hash(name),
        )


def is_self_made(name: str) -> bool:
    """Whether a space of this name is made on first edit."""
    return name.split("/")[0] in SELF_MADE and "/" in name


def readable(backend: Backend, who: Principal, space: str) -> str:
    """The existing space whose layer serves a name: itself, or the nearest ancestor of one that was never edited.

    Raises `Forbidden`, `NotFound`.
    """
    who.require(Scope.READ, space)
    try:
        state = backend.spaces.state(space)
    except NotFound:
        if not is_self_made(space):
            raise
    else:
        Visibility(backend.journal, who).require_chain(state)
        return state.space.name
    try:
        return backend.spaces.state(parent_of(space)).space.name
    except NotFound:
        return ROOT
