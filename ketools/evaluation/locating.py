"""Where a model reads a fact: causal tracing and the logit lens as one result, as a heat map, and compared."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import Field

from ketools.core.errors import InvalidRequest, MissingExtra, StorageError
from ketools.core.progress import Progress, quiet
from ketools.core.requests import Prompt
from ketools.core.results import Location, Reading, Result, State
from ketools.editing.editor import Editor
from ketools.knowledge.probing import following
from ketools.knowledge.providers import Key, any_provider
from ketools.knowledge.relations import RELATIONS
from ketools.models.contexts import form
from ketools.models.tracing import STATES, causal_trace, logit_lens

Related = Literal["phrasings", "chains"]


def locate(
    editor: Editor,
    prompt: Prompt,
    subject: str,
    answer: str | None = None,
    *,
    samples: int = 8,
    states: Sequence[State] = STATES,
    progress: Progress = quiet,
) -> Location:
    """Trace a prompt's answer, the model's own unless one is given, on the base model, through these kinds of states.

    Raises `InvalidRequest` when the prompt does not name the subject, and what `progress` raises.
    """
    with editor.model(progress) as em:
        trace = causal_trace(em, prompt, subject, answer, samples=samples, states=states, progress=progress)
        readable = em.structure.final_norm is not None
        readings = logit_lens(em, prompt, answer or trace.answer.strip()) if readable else []
    effects = {kind: (values - trace.corrupted).tolist() for kind, values in trace.restored.items()}
    width = len(trace.tokens)
    largest = {kind: divmod(int(values.argmax()), width) for kind, values in trace.restored.items()}
    return Location(
        prompt="".join(trace.tokens),
        subject=subject,
        answer=trace.answer,
        tokens=trace.tokens,
        clean=trace.clean,
        corrupted=trace.corrupted,
        effects=effects,
        strongest=largest,
        lens=tuple(Reading(block=r.block, says=r.says, probability=r.probability, rank=r.rank) for r in readings),
    )


class Similarity(Result):
    """How alike the blocks are in which related facts are read, against those of any facts (survey, figure 8).

    Each list has one number per k: the facts' k strongest blocks are compared.
    """

    kind: State
    related: tuple[float, ...] = Field(description="Mean overlap of two facts of one group (Sim_cand).")
    overall: tuple[float, ...] = Field(description="Mean overlap of any two facts (Sim_all).")
    relative: tuple[float, ...] = Field(description="RSim, between 0 and 1.")
    facts: int = Field(ge=2)
    groups: int = Field(ge=1)

    def line(self) -> str:
        """The result in a sentence."""
        shown = ", ".join(f"{value:.2f}" for value in self.relative)
        return (
            f"RSim of the {self.kind} states by number of blocks: {shown} ({self.groups} groups, {self.facts} facts)."
        )


def strongest_blocks(found: Location, kind: State, k: int) -> frozenset[int]:
    """The k blocks in which one token's state matters most; of equals the earlier."""
    effects = found.effects[kind]
    ranked = sorted(range(len(effects)), key=lambda block: -max(effects[block]))
    return frozenset(ranked[:k])


def similarity(groups: Sequence[Sequence[Location]], kind: State = "ffn") -> Similarity:
    """RSim = max((Sim_cand - Sim_all) / (1 - Sim_all), 0) of facts in groups of related ones, for every k.

    Ju and Zhang 2023 (KLoB); as in the survey two facts are as similar as the share of their k strongest blocks that
    they have in common. Raises `InvalidRequest` without a group of two.
    """
    everything = [found for group in groups for found in group]
    related = [pair for group in groups for pair in combinations(group, 2)]
    if not related:
        raise InvalidRequest("No group holds two facts; give at least two related facts to compare.")
    ks = range(1, len(everything[0].effects[kind]) + 1)
    near = tuple(_mean_overlap(related, kind, k) for k in ks)
    overall = tuple(_mean_overlap(combinations(everything, 2), kind, k) for k in ks)
    return Similarity(
        kind=kind,
        related=near,
        overall=overall,
        relative=tuple(max((a - b) / (1 - b), 0.0) if b < 1 else 0.0 for a, b in zip(near, overall, strict=True)),
        facts=len(everything),
        groups=len(groups),
    )


def _mean_overlap(pairs: Iterable[tuple[Location, Location]], kind: State, k: int) -> float:
    return fmean(len(strongest_blocks(a, kind, k) & strongest_blocks(b, kind, k)) / k for a, b in pairs)


def known_groups(related: Related, n: int, seed: int = 0) -> list[list[tuple[str, str]]]:
    """Prompts with their subjects, in n groups: a fact of a registered world in two phrasings, or with the question of
    two hops that goes on from it. Raises `InvalidRequest` where no package registers facts."""
    known = any_provider().facts()
    prompts = {key: _phrasings(key) if related == "phrasings" else _chain(key, known) for key in known}
    keys = [key for key, made in prompts.items() if len(made) > 1]
    chosen = random.Random(seed).sample(keys, min(n, len(keys)))
    return [[(prompt, key[0]) for prompt in prompts[key]] for key in chosen]


def _phrasings(key: Key) -> list[str]:
    return [question.format(s=key[0]) for question in RELATIONS[key[1]].questions[:2]]


def _chain(key: Key, facts: Mapping[Key, str]) -> list[str]:
    subject, relation = key
    first, onward = RELATIONS[relation], RELATIONS[relation].noun.format(s=subject)
    known = [second for second in following(first) if (facts[key], second.name) in facts]
    return [first.questions[0].format(s=subject), *(second.questions[0].format(s=onward) for second in known[:1])]


def compare(
    editor: Editor,
    groups: Sequence[Sequence[tuple[str, str]]],
    kind: State = "ffn",
    *,
    samples: int = 4,
    progress: Progress = quiet,
) -> Similarity:
    """`similarity` of groups of prompts with their subjects, each traced on the base model.

    Raises `InvalidRequest` as `locate` and `similarity` do, and what `progress` raises.
    """
    total = sum(map(len, groups))
    found: list[list[Location]] = []
    for group in groups:
        found.append([])
        for prompt, subject in group:
            progress(sum(map(len, found)), total, prompt)
            found[-1].append(locate(editor, form(prompt), subject, samples=samples, states=(kind,)))
    return similarity(found, kind)


def draw(found: Location, path: Path) -> None:
    """Write the effects as heat maps, one per kind of state, in the format of the path's suffix.

    Raises `MissingExtra` without matplotlib, `StorageError` when the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "report") from None
    figure = Figure(figsize=(4.0 * len(found.effects), 1.5 + 0.22 * len(found.tokens)), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(found.effects), squeeze=False)[0], found.effects, strict=True):
        heat_map(figure, axes, found, kind)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"Cannot draw to {path}: {error}. Give a writable path that ends in .png or .svg."
        ) from error


def heat_map(figure: Any, axes: Any, found: Location, kind: State) -> None:
    """Draw the effects of one kind of state on a figure's axes, a row per token and a column per block."""
    by_token = [list(column) for column in zip(*found.effects[kind], strict=True)]
    image = axes.imshow(by_token, aspect="auto", cmap="Purples", vmin=0)
    axes.set_yticks(range(len(found.tokens)), [_label(token) for token in found.tokens])
    axes.set_xlabel("block")
    axes.set_title(_label(f"{kind}: gain of p({found.answer.strip()})"))
    figure.colorbar(image, ax=axes)


def _label(text: str) -> str:
    """Dollar signs would be read as mathematics, and control characters break an SVG."""
    return "".join(c if c.isprintable() else " " for c in text).replace("$", r"\$")
