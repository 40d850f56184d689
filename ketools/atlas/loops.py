"""The multi-hop loops of the report: many chains at once, an exact memory that also returns distractors."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from ketools.atlas.corpus.hops import NO_ENTITY, Chain, distracting, draw_chain, entity_line, sentence, subquestion
from ketools.atlas.corpus.noun import random_question, subject_kept_for_tests
from ketools.atlas.generation import Speaker, plain
from ketools.atlas.world import Key

MOST_HOPS = 5
RETRIEVED = "Retrieved fact:"
GENERATED = "Generated answer:"
FINAL = "Final answer:"


@dataclass
class TrainingRun:
    """One chain being asked: the text so far, the sub-questions that were written, the final answer."""

    chain: Chain
    text: str
    asked: list[str] = field(default_factory=list)
    answer: str | None = None
    over: bool = False

    @property
    def decomposed(self) -> bool:
        """Whether the sub-questions are those of the chain, each about the answer before it."""
        expected = [subquestion(key) for key, _ in self.chain.hops()]
        return self.asked == expected

    @property
    def right(self) -> bool:
        """Whether the final answer is that of the chain with its edits in force."""
        return self.answer == self.chain.answers[-1]


def draw(rng: random.Random, edited: bool, withheld: bool, hops: int) -> Chain:
    """A chain for tests: from a subject that no training chain starts from, or over a pair never trained."""
    while True:
        chain = draw_chain(rng, hops, 0.5 if edited else 0.0, withheld, train=False)
        if bool(chain.edits) == edited and (withheld or subject_kept_for_tests(chain.subject)):
            return chain


def begin_mello(rng: random.Random, chain: Chain) -> TrainingRun:
    """The prompt that a run of MeLLo's loop starts from."""
    return TrainingRun(chain, f"Question: {random_question(rng, chain.subject, chain.relations)}\n")


def begin_pokemqa(rng: random.Random, chain: Chain, known: bool) -> TrainingRun:
    """The prompt that a run of PokeMQA's loop starts from, with the entity where it is known."""
    run = begin_mello(rng, chain)
    run.text += entity_line(chain.subject, chain.relations[0]) if known else NO_ENTITY
    return run


def _key_of(question: str, edits: Sequence[Key]) -> Key | None:
    return next((key for key in edits if subquestion(key) == question), None)


def _hop_of(run: TrainingRun) -> Key:
    """The hop that the last sub-question is meant for."""
    keys = [key for key, _ in run.chain.hops()]
    return next((key for key in keys if subquestion(key) == run.asked[-1]), keys[0])


def _read(run: TrainingRun, written: str, mark: str) -> bool:
    """Take in what the model wrote; says whether it now waits at the mark."""
    run.text += written
    if FINAL in written:
        run.answer, run.over = plain(written.split(FINAL)[1]), True
    elif written.endswith(mark) and "Subquestion:" in written:
        run.asked.append(written.rpartition("Subquestion:")[2].strip().split("\n")[0])
    else:
        run.over = True
    return not run.over


def mello(speaker: Speaker, runs: Sequence[TrainingRun], rng: random.Random) -> None:
    """MeLLo: whatever the memory returns is put in, relevant or not."""
    for _ in range(MOST_HOPS):
        live = [run for run in runs if not run.over]
        for run, written in zip(live, _write(speaker, live, RETRIEVED), strict=True):
            if _read(run, written, RETRIEVED):
                key = _key_of(run.asked[-1], list(run.chain.edits))
                fact = sentence(key, run.chain.edits[key]) if key else distracting(rng, _hop_of(run), {})
                run.text += f" {fact}\n"


def pokemqa(speaker: Speaker, runs: Sequence[TrainingRun], rng: random.Random) -> None:
    """PokeMQA: an edit in scope is put in as the generated answer, else the model answers."""
    for _ in range(MOST_HOPS):
        live = [run for run in runs if not run.over]
        for run, written in zip(live, _write(speaker, live, GENERATED), strict=True):
            if _read(run, written, GENERATED):
                key = _key_of(run.asked[-1], list(run.chain.edits))
                if key:
                    run.text += f" {sentence(key, run.chain.edits[key])}\n"


def _write(speaker: Speaker, live: Sequence[TrainingRun], mark: str) -> list[str]:
    return speaker.complete([run.text for run in live], 100, mark) if live else []
