"""ketools' own agent: a chain of relations, walked over the graph of edits; the model answers what was not edited.

The question is taken apart once, before anything is answered (as GMeLLo and KEDKG do): by the templates of its
noun phrases, else by the model, else by similarity. A plan is type-checked before it is walked, and one that
comes to nothing is given up for the next. What edits say is never left to the model to judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from ketools.core.errors import KetoolsError, ModelError
from ketools.core.requests import REFUSAL
from ketools.core.results import Hop, MultihopAnswer
from ketools.core.text import normalise
from ketools.knowledge.matching import refuses
from ketools.knowledge.relations import Relation
from ketools.multihop.events import (
    Backtracked,
    ConflictSeen,
    Event,
    Intermediate,
    Planned,
    PlanSource,
    Retrieved,
    Subquestion,
)
from ketools.multihop.loops import bare
from ketools.multihop.memory import EditMemory, Remembered
from ketools.multihop.parsing import PLACE, Chain, parse, similar, type_checked
from ketools.multihop.prompts import Prompts
from ketools.multihop.steps import Program, Steps, ask, complete
from ketools.notes.scope import words
from ketools.retrieval import Encoder

MOST_HOPS = 8
PLAN_TOKENS = 96
ANSWER_TOKENS = 24
SHARED = 4
"""A word of so many letters, at least one, must come from the question into the model's decomposition."""

_PLACE = re.compile(rf"{PLACE}(\d+)")
_NAME = re.compile(r"(?<!^)\b[A-Z][\w'.-]*(?:\s+[A-Z][\w'.-]*)*")


@dataclass(frozen=True)
class Step:
    """One hop of a plan: its question, `#k` in place of the k-th answer, and its relation when known."""

    question: str
    relation: Relation | None = None
    entity: str | None = None


Plan = tuple[Step, ...]


@dataclass(frozen=True)
class Auto:
    """The agent over one memory. `encoder` None: no plans by similarity."""

    memory: EditMemory
    prompts: Prompts
    encoder: Encoder | None = None
    most_hops: int = MOST_HOPS

    def __call__(self, question: str) -> Program:
        """The program of one question."""
        return _Walk(self, question).program()


@dataclass
class _Walk:
    """One question being answered."""

    agent: Auto
    question: str
    best: list[Hop] = field(default_factory=list)
    conflicts: dict[str, None] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    doubtful: list[Plan] = field(default_factory=list)
    walked: bool = False
    malformed: int = 0
    generations: int = 0
    reason: str = ""
    notes: list[str] = field(default_factory=list)

    # --- plans ---

    def program(self) -> Program:
        """Try plan after plan; the first that is answered to its end counts."""
        try:
            for source, make in self._ways():
                if source == "similarity" and self.walked:
                    continue
                for plan in (yield from make()):
                    self.walked = True
                    yield Planned(subquestions=tuple(step.question for step in plan), source=source)
                    hops = yield from self._follow(plan)
                    if hops is not None:
                        return self._answer(hops, True)
                    yield Backtracked(step=len(self.best) + 1, reason=self.reason)
            return (yield from self._as_a_whole())
        except KetoolsError as error:
            self.reason = str(error)
            return self._answer(self.best, False)

    def _ways(self) -> tuple[tuple[PlanSource, Callable[[], Steps[list[Plan]]]], ...]:
        """How plans are made, the surest first; a model's plan that is not type-correct comes last.

        Similarity only guesses, so it is asked only when nothing else gave a plan that could be walked.
        """
        return (
            ("templates", self._parsed),
            ("model", self._decomposed),
            ("similarity", self._similar),
            ("model", self._doubtful),
        )

    def _parsed(self) -> Steps[list[Plan]]:
        yield from ()
        return [_planned(chain) for chain in parse(self.question, self.agent.memory.told_relations)]

    def _doubtful(self) -> Steps[list[Plan]]:
        yield from ()
        return self.doubtful

    def _decomposed(self) -> Steps[list[Plan]]:
        """The model's own decomposition, if it has the form and hangs together."""
        self.generations += 1
        text = self.agent.prompts.fill("decompose", self.question)
        written = yield from complete(text, ("\n",), PLAN_TOKENS)
        steps = [_read(part.strip()) for part in written.strip().split("\n")[0].split("|") if part.strip()]
        problem = self._objection(tuple(steps))
        if problem:
            self.malformed += 1
            self.reason = f"The model's decomposition {problem}."
            yield Backtracked(reason=self.reason)
            return []
        if not type_checked([step.relation for step in steps]):
            yield Backtracked(reason="The model's decomposition asks for what the step before does not give.")
            self.doubtful.append(tuple(steps))
            return []
        return [tuple(steps)]

    def _objection(self, plan: Plan) -> str:
        """What is wrong with a plan that the model wrote; empty when nothing is."""
        if not plan or len(plan) > self.agent.most_hops:
            return f"has {len(plan)} steps, not 1 to {self.agent.most_hops}"
        for i, step in enumerate(plan):
            places = [int(number) for number in _PLACE.findall(step.question)]
            if any(not 1 <= place <= i for place in places):
                return f"refers to an answer that is not there ({step.question!r})"
            if i and not places:
                return f"has a step that does not build on an earlier answer ({step.question!r})"
            if step.entity and normalise(step.entity) not in normalise(self.question):
                return f"is about {step.entity!r}, which the question does not name"
        spoken = {word for word in words(self.question) if len(word) >= SHARED}
        return "" if spoken & {*words(plan[0].question)} else "begins with nothing that the question names"

    def _similar(self) -> Steps[list[Plan]]:
        """Chains that mean nearly the same as the question, for an entity that it names."""
        yield from ()
        if self.agent.encoder is None:
            return []
        plans = []
        for entity in self._entities():
            plans += [_planned(chain) for chain in similar(self.question, entity, self.agent.encoder)]
        return plans

    def _entities(self) -> list[str]:
        """Edited subjects and capitalised names that occur in the question."""
        spoken = normalise(self.question)
        edited = [name for name in self.agent.memory.subjects() if normalise(name) in spoken]
        names = [name.removesuffix("'s") for name in _NAME.findall(self.question)]
        return list(dict.fromkeys([*sorted(edited, key=len, reverse=True), *names]))

    # --- walking ---

    def _follow(self, plan: Plan) -> Steps[list[Hop] | None]:
        """Answer the steps of a plan one after another; None when one has no answer."""
        hops: list[Hop] = []
        for step in plan:
            question = _PLACE.sub(lambda m: hops[int(m[1]) - 1].answer, step.question)
            place = _PLACE.search(step.question)
            entity = hops[int(place[1]) - 1].answer if place else step.entity
            yield Subquestion(step=len(hops) + 1, question=question)
            hop = yield from self._hop(len(hops) + 1, question, entity, step.relation)
            if hop is None:
                return None
            yield Intermediate(step=len(hops) + 1, answer=hop.answer, source=hop.source)
            hops.append(hop)
            if len(hops) > len(self.best):
                self.best = list(hops)
            if hop.answer == REFUSAL:
                break  # the rest of the chain hangs on a fact that was erased
        return hops

    def _hop(self, number: int, question: str, entity: str | None, relation: Relation | None) -> Steps[Hop | None]:
        fact = yield from self._fact(number, question, entity, relation)
        if fact is not None:
            yield Retrieved(step=number, edit_id=fact.edit_id, fact=fact.sentence, score=fact.score, in_scope=True)
            answer = REFUSAL if fact.erased else bare(fact.request.target_new)
            return Hop(question=question, answer=answer, source="edit", edit_id=fact.edit_id, fact=fact.sentence)
        for phrasing in self._phrasings(question, entity, relation):
            answer = yield from self._asked(phrasing)
            if answer and not refuses(answer):
                return Hop(question=phrasing, answer=answer, source="model")
        self.reason = f"Nobody knows the answer to {question!r}: no edit says it, and the model does not."
        return None

    def _phrasings(self, question: str, entity: str | None, relation: Relation | None) -> tuple[str, ...]:
        """The question, and another way to put it for a model that does not know an answer to the first."""
        if relation is None or entity is None:
            return (question,)
        return tuple(dict.fromkeys((question, relation.questions[1].format(s=entity))))

    def _asked(self, question: str) -> Steps[str]:
        if question not in self.asked:
            self.generations += 1
            text = self.agent.prompts.fill("answer", question)
            written = yield from ask(text, ANSWER_TOKENS)
            self.asked[question] = bare(written)
            self.written[bare(written)] = written.strip()
        return self.asked[question]

    def _fact(
        self, number: int, question: str, entity: str | None, relation: Relation | None
    ) -> Generator[Event, None, Remembered | None]:
        """The edit that answers a hop: an edge of the graph, else what is in scope of the question."""
        memory = self.agent.memory
        found = memory.edges(entity, relation.name) if entity and relation else []
        if not found:
            found = self._scoped(question, entity)
        if not found:
            return None
        same = memory.newest_first(f for f in found if _same_fact(f, found[0], memory))
        chosen = same[0]
        rivals = [f for f in same if normalise(f.request.target_new) != normalise(chosen.request.target_new)]
        if rivals:
            yield self._conflict(number, chosen, rivals)
        return chosen

    def _scoped(self, question: str, entity: str | None) -> list[Remembered]:
        """The facts in scope; of the step's entity where it is known, for 'indoor football' is not 'football'."""
        memory = self.agent.memory
        try:
            found = memory.in_scope(question)
            name = memory.canonical(entity) if entity else ""
            return [f for f in found if not name or memory.canonical(f.request.subject) == name]
        except ModelError as error:
            self._note(f"The retriever is down, so only exact matches were found ({error}).")
            return []

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _conflict(self, number: int, chosen: Remembered, rivals: list[Remembered]) -> ConflictSeen:
        others = ", ".join(f"{f.edit_id} ({_value(f)})" for f in rivals)
        told = f"{chosen.edit_id} ({_value(chosen)}) is newer than {others} and counts."
        self.conflicts.setdefault(told)
        ids = (chosen.edit_id, *(f.edit_id for f in rivals))
        return ConflictSeen(step=number, edit_ids=ids, chosen=chosen.edit_id, told=told)

    # --- the end ---

    def _as_a_whole(self) -> Program:
        """No plan led to the end: what the model says to the question as it stands, told as incomplete."""
        if self.best:
            return self._answer(self.best, False)
        fact = yield from self._fact(1, self.question, None, None)
        reason = self.reason
        if fact is None:
            answer = yield from self._asked(self.question)
            self.reason = f"The question could not be taken apart; it was asked as a whole. {reason}".strip()
            hops = [Hop(question=self.question, answer=answer, source="model")]
            return self._answer(hops, False)
        hop = yield from self._hop(1, self.question, None, None)
        return self._answer([hop] if hop else [], hop is not None)

    def _answer(self, hops: list[Hop], whole: bool) -> MultihopAnswer:
        citations = tuple(dict.fromkeys(hop.edit_id for hop in hops if hop.edit_id))
        return MultihopAnswer(
            question=self.question,
            answer=hops[-1].answer if hops else None,
            written=self.written.get(hops[-1].answer, hops[-1].answer) if hops else None,
            complete=whole,
            hops=tuple(hops),
            affected=bool(citations),
            citations=citations,
            conflicts=tuple(self.conflicts),
            malformed=self.malformed,
            generations=self.generations,
            failed_step=None if whole else len(hops) + 1,
            reason=" ".join([*([] if whole else [self.reason]), *self.notes]).strip(),
            agent="auto",
        )


def _value(fact: Remembered) -> str:
    return "erased" if fact.erased else fact.request.target_new


def _planned(chain: Chain) -> Plan:
    """A chain as a plan; only its first step names an entity."""
    entities = (chain.entity, *[None] * (len(chain.relations) - 1))
    known = (relation if relation.domain else None for relation in chain.relations)
    return tuple(Step(*parts) for parts in zip(chain.questions, known, entities, strict=True))


def _read(question: str) -> Step:
    """A step that the model wrote, with relation and entity when it is one of the known templates."""
    chains = [chain for chain in parse(question) if len(chain.relations) == 1]
    if not chains:
        return Step(question)
    (relation,), entity = chains[0].relations, chains[0].entity
    return Step(question, relation, None if _PLACE.search(entity) else entity)


def _same_fact(one: Remembered, other: Remembered, memory: EditMemory) -> bool:
    """Whether two edits that answer one question tell one fact: they do unless both name relations, and others."""
    if one.relation and other.relation and one.relation != other.relation:
        return False
    return memory.canonical(one.request.subject) == memory.canonical(other.request.subject)
