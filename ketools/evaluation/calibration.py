"""Finds the configuration with which each method edits a given model best, and stores it as a profile."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ketools.core.errors import Diverged, InvalidRequest
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest, Probe, Prompt
from ketools.editing.editor import Editor
from ketools.engines.base import Engine
from ketools.knowledge.matching import agrees, says
from ketools.knowledge.providers import any_provider
from ketools.knowledge.relations import RELATIONS, Relation, relation_of
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.methods.base import Method, MethodConfig
from ketools.methods.profile import MethodProfile, Profile, Scores, store_profile
from ketools.methods.registry import get_method, methods

ANSWER_TOKENS = 16
FIRST_CASES = 4
SINGLES = 12
"""How many of the cases a joint method also edits one by one."""
KEPT_SHARE = 1 / 3


@dataclass(frozen=True)
class CalibrationCase:
    """One edit to try: what must change and what must not.

    `direct`: the edit's own phrasings, answered by the target; `rephrases`: phrasings that the computation
    is not shown; `locality`: prompts whose answers must stay what they were.
    """

    request: EditRequest
    direct: tuple[Probe, ...]
    rephrases: tuple[Probe, ...]
    locality: tuple[Probe, ...]


@dataclass
class Trial:
    """Runs edits and asks the engine; answers before an edit are asked once."""

    editor: Editor
    engine: Engine
    _before: dict[str, str] = field(default_factory=dict)

    def scores(self, method: str, config: MethodConfig, cases: Sequence[CalibrationCase]) -> Scores:
        """Each case edited by itself on the base model, and by a joint method all of them at once besides.

        An edit that diverges counts as a failure. `ms` is of the edits alone.
        """
        marks: dict[str, list[bool]] = {"success": [], "rephrase": [], "locality": []}
        spent = 0.0
        alone = cases[:SINGLES] if get_method(method).joint else cases
        for case in alone:
            begin = time.perf_counter()
            layer = self._edited(method, config, [case])
            spent += time.perf_counter() - begin
            for name, passed in self._marks(case, layer).items():
                marks[name] += passed
        if get_method(method).joint:
            layer = self._edited(method, config, cases)
            for case in _apart(cases):
                for name, passed in self._marks(case, layer).items():
                    marks[name] += passed
        shares = {name: _share(passed) for name, passed in marks.items()}
        return Scores(**shares, ms=round(1000 * spent / max(len(alone), 1), 1), n=len(cases))

    def _edited(self, method: str, config: MethodConfig, cases: Sequence[CalibrationCase]) -> EditLayer | None:
        try:
            made = self.editor.compute(method, [case.request for case in cases], BASE, config)
        except Diverged:
            return None
        return BASE.with_edits(*(LiveEdit("trial", uuid.uuid4().hex, artefact) for artefact in made))

    def _marks(self, case: CalibrationCase, layer: EditLayer | None) -> dict[str, list[bool]]:
        changed = (*case.direct, *case.rephrases)
        if layer is None:
            hits, kept = [False] * len(changed), [True] * len(case.locality)
        else:
            answers = self._ask([*changed, *case.locality], layer)
            hits = [says(answer, case.request.target_new) for answer in answers[: len(changed)]]
            before = self._answers_before(case.locality)
            after = answers[len(changed) :]
            kept = [agrees(was, now) for was, now in zip(before, after, strict=True)]
        cut = len(case.direct)
        return {"success": hits[:cut], "rephrase": hits[cut:], "locality": kept}

    def _answers_before(self, probes: Sequence[Probe]) -> list[str]:
        unknown = [probe for probe in probes if _name(probe) not in self._before]
        for probe, answer in zip(unknown, self._ask(unknown, BASE), strict=True):
            self._before[_name(probe)] = answer
        return [self._before[_name(probe)] for probe in probes]

    def _ask(self, probes: Sequence[Probe], layer: EditLayer) -> list[str]:
        prompts: list[Prompt] = [probe.rendered() for probe in probes]
        return self.engine.generate(prompts, layer, max_new_tokens=ANSWER_TOKENS) if prompts else []


def _apart(cases: Sequence[CalibrationCase]) -> Iterator[CalibrationCase]:
    """The cases without the probes that ask for what another of them edits."""
    edited = {
        template.format(s=case.request.subject)
        for case in cases
        if (relation := relation_of(case.request))
        for template in (*relation.cloze, *relation.questions)
    }
    for case in cases:
        yield replace(case, locality=tuple(probe for probe in case.locality if probe.prompt not in edited))


def _name(probe: Probe) -> str:
    return f"{probe.chat}|{probe.prompt}"


def _share(passed: Sequence[bool]) -> float:
    return sum(passed) / len(passed) if passed else 1.0


def calibrate(
    editor: Editor,
    engine: Engine,
    cases: Sequence[CalibrationCase],
    method_names: Iterable[str] | None = None,
    *,
    progress: Progress = quiet,
    budget_s: float = 600.0,
    store: bool = True,
) -> Profile:
    """Try every configuration of each method's `search` and keep the best, by successive halving.

    All configurations edit a few cases; the best third goes on to more cases, until one is left that has seen
    all, or its share of `budget_s` seconds is spent. The score is the harmonic mean of success, rephrase and
    locality, ties going to the quicker one. With `store`, the profile is written to the editor's directory.
    Raises `InvalidRequest` without cases or for a method that cannot be searched, `NotFound`, `StorageError`,
    and what `progress` raises.
    """
    if not cases:
        raise InvalidRequest("Calibration needs cases; give some edits with rephrases and locality probes.")
    chosen = [get_method(name) for name in method_names or _searchable()]
    n_layers, name = _facts_about(editor)
    trial = Trial(editor, engine)
    found = {}
    for i, method in enumerate(chosen):
        configs = _configs(method, n_layers)
        deadline = time.monotonic() + budget_s / len(chosen)
        config, scores = _halving(trial, method, configs, cases, deadline, _part(progress, i, len(chosen)))
        found[method.name] = MethodProfile(config=config.model_dump(), scores=scores)
    profile = Profile(model_hash=editor.model_hash, model_name=name, methods=found)
    if store:
        store_profile(profile, editor.configurations.directory)
    return profile


def _searchable() -> list[str]:
    return [name for name, method in methods().items() if method.search]


def _configs(method: Method, n_layers: int) -> list[MethodConfig]:
    if method.search is None:
        raise InvalidRequest(f"{method.name} has nothing to calibrate; choose from {', '.join(_searchable())}.")
    return list(method.search(n_layers))


def _facts_about(editor: Editor) -> tuple[int, str]:
    with editor.model() as em:
        return len(em.structure.blocks), em.name


def _part(progress: Progress, i: int, n: int) -> Progress:
    return lambda done, total, message: progress(i * total + done, n * total, message)


def _halving(
    trial: Trial,
    method: Method,
    configs: list[MethodConfig],
    cases: Sequence[CalibrationCase],
    deadline: float,
    progress: Progress,
) -> tuple[MethodConfig, Scores]:
    """The best configuration and what it reached on as many cases as there was time for."""
    count = min(FIRST_CASES, len(cases))
    best: tuple[MethodConfig, Scores] | None = None
    while True:
        ranked: list[tuple[MethodConfig, Scores]] = []
        for i, config in enumerate(configs):
            progress(i, len(configs), f"{method.name}: {len(configs)} configurations on {count} edits")
            if ranked and time.monotonic() > deadline:
                break
            ranked.append((config, trial.scores(method.name, config, cases[:count])))
        ranked.sort(key=lambda pair: (-round(pair[1].overall, 4), pair[1].ms))
        best = ranked[0]
        if time.monotonic() > deadline or (len(configs) == 1 and count == len(cases)):
            return best
        configs = [config for config, _ in ranked[: max(1, round(len(ranked) * KEPT_SHARE))]]
        count = len(cases) if len(configs) == 1 else min(3 * count, len(cases))


# --- cases of a known world ---


def known_cases(count: int, seed: int = 0) -> list[CalibrationCase]:
    """Edits of a registered world's facts towards targets of the same type, with withheld phrasings.

    Raises `InvalidRequest` where no package registers facts.
    """
    rng, known = random.Random(f"calibration|{seed}"), any_provider()
    facts = known.facts()
    keys = [key for key in facts if not RELATIONS[key[1]].private]
    subjects = {name: tuple(s for s, relation in facts if relation == name) for name in RELATIONS}
    return [
        _case(rng, facts, subjects, subject, relation, known.other_target(rng, subject, relation))
        for subject, relation in rng.sample(keys, count)
    ]


def _case(
    rng: random.Random,
    facts: Mapping[tuple[str, str], str],
    subjects: Mapping[str, Sequence[str]],
    subject: str,
    name: str,
    target: str,
) -> CalibrationCase:
    relation = RELATIONS[name]
    request = EditRequest(
        subject=subject,
        prompt=relation.cloze[0].format(s=subject),
        target_new=target,
        target_old=facts[subject, name],
        relation=name,
    )
    return CalibrationCase(
        request=request,
        direct=(_cloze(relation, subject, 0, "direct"), _question(relation, subject, 0, "direct")),
        rephrases=(_cloze(relation, subject, -1, "rephrase"), _question(relation, subject, -1, "rephrase")),
        locality=(
            *_neighbours(rng, subjects, subject, relation),
            *_others(facts, subject, name),
            *_far(rng, facts),
        ),
    )


def _cloze(relation: Relation, subject: str, template: int, kind: str) -> Probe:
    return Probe(prompt=relation.cloze[template].format(s=subject), kind=kind)


def _question(relation: Relation, subject: str, template: int, kind: str) -> Probe:
    return Probe(prompt=relation.questions[template].format(s=subject), kind=kind, chat=True)


def _neighbours(
    rng: random.Random, subjects: Mapping[str, Sequence[str]], subject: str, relation: Relation
) -> list[Probe]:
    others = rng.sample([s for s in subjects[relation.name] if s != subject], 6)
    clozes = [_cloze(relation, s, rng.randrange(4), "neighbour") for s in others[:3]]
    return clozes + [_question(relation, s, rng.randrange(4), "neighbour") for s in others[3:]]


def _others(facts: Mapping[tuple[str, str], str], subject: str, name: str) -> list[Probe]:
    known = [r for r in RELATIONS.values() if (subject, r.name) in facts and r.name != name]
    clozes = [_cloze(r, subject, 1, "same_subject") for r in known]
    return clozes + [_question(r, subject, 1, "same_subject") for r in known]


def _far(rng: random.Random, facts: Mapping[tuple[str, str], str]) -> list[Probe]:
    return [_question(RELATIONS[name], subject, 0, "unrelated") for subject, name in rng.sample(sorted(facts), 4)]
