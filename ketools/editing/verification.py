"""Measures, on the serving engine, what a candidate layer does: before against after.

Nothing is called a success on the word of the optimiser. An answer is the greedy answer of the engine that
serves, with the notes of the layer put into the prompt exactly as for a user.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import exp
from threading import Lock, local
from typing import TypeVar

from ketools.core.evidence import UNTOUCHED, WORDINGS, Evidence, ProbeResult, Share, Source, Strength
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest, Kind, Probe, Prompt
from ketools.core.text import normalise
from ketools.engines.base import Engine
from ketools.knowledge.bank import KnownProbe
from ketools.knowledge.manners import Manners
from ketools.knowledge.matching import agrees, first_statement, mentions, refuses, says
from ketools.knowledge.probing import Prober, asked_for, probe
from ketools.knowledge.traits import classify
from ketools.layers.composition import EditLayer
from ketools.notes import NoteInjector, ScopedEngine

ANSWER_TOKENS = 28
CACHED_ANSWERS = 100_000
_TOGETHER = 256

Key = TypeVar("Key", bound=tuple[object, ...])
Value = TypeVar("Value")


@dataclass(frozen=True)
class Policy:
    """Thresholds below which an edit is refused; each a share in [0, 1]."""

    min_success: float = 0.75
    min_locality: float = 0.75
    max_leak: float = 0.0
    require_direct: bool = True

    def objection(self, request: EditRequest, evidence: Evidence) -> str:
        """Why the evidence is not good enough, or an empty string."""
        if self.require_direct and not evidence.direct:
            return "The prompt itself does not give the target."
        if evidence.success < self.min_success:
            return f"Only {evidence.success:.2f} of {evidence.success_n} phrasings give the target."
        if evidence.locality_n and evidence.locality < self.min_locality:
            changed = ", ".join(f.prompt for f in evidence.failures if f.kind not in SUCCESS_KINDS)[:200]
            return f"Only {evidence.locality:.2f} of {evidence.locality_n} unrelated answers stayed the same" + (
                f" (changed: {changed})." if changed else "."
            )
        if evidence.leak is not None and evidence.leak > self.max_leak:
            return f"{evidence.leak:.2f} of the leak probes still reveal what was erased."
        return ""


SUCCESS_KINDS = frozenset({"direct", "rephrase", "form"})


@dataclass(frozen=True)
class Verdict:
    """Evidence with the direct prompt's answers around the edit."""

    evidence: Evidence
    before: str
    after: str


@dataclass
class Verifier:
    """Asks an engine. Answers are cached per weight change and prompt as served, notes included: what an edit does not
    touch is not asked again.

    `manners`: what judges the answers to personality edits; None for the lexicon, which suits the bundled model.
    """

    engine: Engine
    prober: Prober
    notes: NoteInjector
    manners: Manners | None = None
    _answers: OrderedDict[tuple[str, Prompt], str] = field(default_factory=OrderedDict)
    _totals: OrderedDict[tuple[str, Prompt, str], float] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)
    _private: local = field(default_factory=local)

    @contextmanager
    def forgetting(self, requests: Sequence[EditRequest]) -> Iterator[None]:
        """If there are erasures among the requests, what this thread asks inside is not kept, nor what was kept of
        the erasures' phrasings.
        """
        erasures = [request for request in requests if request.kind is Kind.ERASE]
        if not erasures:
            yield
            return
        phrasings = [p.prompt for r in erasures for p in self.prober.phrasings(r)]
        asked: set[object] = set()
        self._private.asked = asked
        try:
            yield
        finally:
            self._private.asked = None
            with self._lock:
                _forget(self._answers, asked, phrasings)
                _forget(self._totals, asked, phrasings)

    def answers(self, prompts: Sequence[Prompt], layer: EditLayer) -> list[str]:
        """Greedy answers under the layer, edits in scope applied; one batch for what is not cached."""
        served = self.serving.prepare(prompts, layer)
        keys = [(p.layer.delta_hash, _hashable(p.prompt)) for p in served]
        with self._lock:
            known = {k: self._answers[k] for k in keys if k in self._answers}
        missing = {k: p for k, p in zip(keys, served, strict=True) if k not in known}
        if missing:
            asked, layers = [p.prompt for p in missing.values()], [p.layer for p in missing.values()]
            fresh = self.engine.generate(asked, layers, max_new_tokens=ANSWER_TOKENS)
            known |= dict(zip(missing, fresh, strict=True))
            self._remember(self._answers, {k: known[k] for k in missing})
        return [known[k] for k in keys]

    @property
    def serving(self) -> ScopedEngine:
        """The engine as users see it."""
        return ScopedEngine(self.engine, self.notes)

    def _remember(self, cache: OrderedDict[Key, Value], fresh: dict[Key, Value]) -> None:
        if (asked := getattr(self._private, "asked", None)) is not None:
            asked.update(key[1] for key in fresh)
        with self._lock:
            cache.update(fresh)
            while len(cache) > CACHED_ANSWERS:
                cache.popitem(last=False)

    def direct_answer(self, request: EditRequest, layer: EditLayer) -> str:
        """What the model says to the request's own prompt."""
        return self.answers([self.prober.phrasings(request)[0].rendered()], layer)[0]

    def known(self, request: EditRequest, layer: EditLayer) -> bool:
        """Whether the model gives what the edit wants to every phrasing."""
        return all(self.hits(request, answer) for answer in self.phrasing_answers(request, layer))

    def hits(self, request: EditRequest, answer: str) -> bool:
        """Whether an answer is what the edit wants: the target, a refusal, or the trait's manner."""
        if request.kind is Kind.PERSONALITY and self.manners is not None:
            return self.manners.trait(answer) is request.trait
        return hits_target(request, answer)

    def phrasing_answers(self, request: EditRequest, layer: EditLayer) -> list[str]:
        """What the model says to each phrasing of the request; the first is the request's own prompt."""
        return self.answers([p.rendered() for p in self.prober.phrasings(request)], layer)

    def ask_ahead(
        self,
        requests: Sequence[EditRequest],
        before: EditLayer,
        after: EditLayer,
        live: Sequence[EditRequest] = (),
        progress: Progress = quiet,
    ) -> None:
        """Ask what `verify` of each request will ask, many prompts in one batch. Raises what `progress` raises."""
        changing = asked_for(requests)
        phrasings = [probe for r in requests for probe in self.prober.phrasings(r)]
        locality = [probe for r in requests for probe in self.prober.locality(r, live, changing)]
        touched = [p for p, other in zip(locality, self._touched(locality, before, after), strict=True) if other]
        prompts = [*{_hashable(p.rendered()): p.rendered() for p in (*phrasings, *touched)}.values()]
        parts = [(layer, part) for layer in (before, after) for part in _parts(prompts)]
        for i, (layer, part) in enumerate(parts):
            progress(i, len(parts), f"verifying {len(requests)} edits")
            self.answers(part, layer)
        self._probabilities([(r, self.prober.phrasings(r)[0]) for r in requests], after)

    def verify(
        self,
        request: EditRequest,
        before: EditLayer,
        after: EditLayer,
        live: Sequence[EditRequest] = (),
        changing: Collection[str] = frozenset(),
    ) -> Verdict:
        """Compare two layers on the request's phrasings and locality probes.

        `live`: other facts that were edited; `changing`: prompts that the same batch edits.
        """
        phrasings, locality = self.prober.phrasings(request), self.prober.locality(request, live, changing)
        old = self.answers([p.rendered() for p in self._asked_before(request, phrasings)], before)
        leaks = leak_probes(request, phrasings, old)
        new = self.answers([p.rendered() for p in (*phrasings, *leaks)], after)
        said, completed = new[: len(phrasings)], new[len(phrasings) :]
        hits = [_result(p, request.target_new, a, self.hits(request, a)) for p, a in zip(phrasings, said, strict=True)]
        kept = self._kept(locality, before, after)
        shares = self._shares(request, phrasings, hits) + self._shares(request, locality, kept)
        evidence = Evidence(
            success=_share(hits),
            success_n=len(hits),
            locality=_share(kept, empty=1.0),
            locality_n=len(kept),
            probability=self._probabilities([(request, phrasings[0])], after)[0],
            direct=hits[0].passed,
            leak=_leak_rate(request, phrasings, old, said, leaks, completed),
            failures=() if request.kind is Kind.ERASE else tuple(r for r in hits + kept if not r.passed),
            shares=shares,
            strength=_strength(request, shares),
        )
        return Verdict(evidence, before=old[0], after=said[0])

    def _asked_before(self, request: EditRequest, phrasings: Sequence[Probe]) -> Sequence[Probe]:
        """What is asked of the layer before: the direct prompt, and of an erasure every way to the secret."""
        return phrasings if request.kind is Kind.ERASE else phrasings[:1]

    def _kept(self, probes: Sequence[Probe], before: EditLayer, after: EditLayer) -> list[ProbeResult]:
        """Whether each answer stays: served as before it does, without being asked; else its first statement must.

        An earlier first statement whose tokens are all greedy under the layer after is the new answer's beginning:
        one forward pass tells, and only other answers are generated.
        """
        touched = self._touched(probes, before, after)
        asked = [p for p, other in zip(probes, touched, strict=True) if other]
        was = dict(zip(asked, self._earlier(asked, before), strict=True))
        still = dict(zip(asked, self._still_greedy([(p, was[p]) for p in asked], after), strict=True))
        changed = [p for p in asked if not still[p]]
        now = dict(zip(changed, self.answers([p.rendered() for p in changed], after), strict=True))
        stayed = {p: _stayed(p, was[p], now[p]) for p in changed}
        # The bank tells what the base model says; an earlier edit may have changed that already.
        gone = [p for p in changed if isinstance(p, KnownProbe) and not stayed[p]]
        earlier = self.answers([p.rendered() for p in gone], before)
        stayed |= {p: agrees(then, now[p]) for p, then in zip(gone, earlier, strict=True)}
        return [_result(p, was.get(p, ""), now.get(p, was.get(p, "")), stayed.get(p, True)) for p in probes]

    def _touched(self, probes: Sequence[Probe], before: EditLayer, after: EditLayer) -> list[bool]:
        """Whether a probe is served otherwise after than before; one of equal prompt and weights is not."""
        prompts = [p.rendered() for p in probes]
        pairs = zip(self.serving.prepare(prompts, before), self.serving.prepare(prompts, after), strict=True)
        return [one.prompt != two.prompt or one.layer.delta_hash != two.layer.delta_hash for one, two in pairs]

    def _earlier(self, probes: Sequence[Probe], before: EditLayer) -> list[str]:
        """How the answers begin before: what probes bring with them, else the model's own answer."""
        told = iter(self.answers([p.rendered() for p in probes if p.beginning is None], before))
        return [next(told) if p.beginning is None else p.beginning for p in probes]

    def _still_greedy(self, asked: Sequence[tuple[Probe, str]], layer: EditLayer) -> list[bool]:
        """Whether the first statement of each earlier answer is how the greedy answer begins."""
        texts = [first_statement(was) for _, was in asked]
        some = [i for i, text in enumerate(texts) if text]
        prompts = [asked[i][0].rendered() for i in some]
        scores = self.serving.score(prompts, [texts[i] for i in some], layer) if some else []
        greedy = {i for i, score in zip(some, scores, strict=True) if score.greedy}
        return [i in greedy for i in range(len(asked))]

    def _shares(
        self, request: EditRequest, probes: Sequence[Probe], results: Sequence[ProbeResult]
    ) -> tuple[Share, ...]:
        groups: dict[tuple[str, Source], list[bool]] = {}
        for asked, result in zip(probes, results, strict=True):
            groups.setdefault((asked.kind, self.prober.source(request, asked)), []).append(result.passed)
        return tuple(
            Share(kind=kind, source=source, passed=sum(passed), n=len(passed))
            for (kind, source), passed in groups.items()
        )

    def implied(self, request: EditRequest, layer: EditLayer) -> tuple[Probe, ...]:
        """What follows from the edit, each with its answer; without what the model does not know under the layer."""
        found = self.prober.implied(request)
        sources = [i.source.rendered() for i in found if i.source is not None]
        told = iter(self.answers(sources, layer))
        answers = [next(told) if i.source is not None else i.asked.answer for i in found]
        return tuple(
            i.asked.model_copy(update={"answer": answer.rstrip(" .")})
            for i, answer in zip(found, answers, strict=True)
            if answer and answer.rstrip(" .") and not refuses(answer)
        )

    def portability(self, implied: Sequence[Probe], layer: EditLayer) -> float:
        """The share of what follows that holds under the layer; 1 when nothing follows."""
        said = self.answers([p.rendered() for p in implied], layer)
        right = [p.answer is not None and says(a, p.answer) for p, a in zip(implied, said, strict=True)]
        return sum(right) / len(right) if right else 1.0

    def _probabilities(self, asked: Sequence[tuple[EditRequest, Probe]], layer: EditLayer) -> list[float]:
        """Of each target after its own prompt; one batch for what is not cached."""
        served = self.serving.prepare([p.rendered() for _, p in asked], layer)
        keys = [
            (s.layer.delta_hash, _hashable(s.prompt), r.target_new) for s, (r, _) in zip(served, asked, strict=True)
        ]
        with self._lock:
            known = {k: self._totals[k] for k in keys if k in self._totals}
        missing = {k: s for k, s in zip(keys, served, strict=True) if k not in known}
        if missing:
            prompts, layers = [s.prompt for s in missing.values()], [s.layer for s in missing.values()]
            scores = self.engine.score(prompts, [target for _, _, target in missing], layers)
            fresh = {k: exp(score.total) for k, score in zip(missing, scores, strict=True)}
            known |= fresh
            self._remember(self._totals, fresh)
        return [known[k] for k in keys]


def _strength(request: EditRequest, shares: Sequence[Share]) -> Strength:
    """Strong where other wordings and enough of the rest were asked; manners are judged topic by topic."""
    if request.kind is Kind.PERSONALITY:
        return "strong"
    wordings = sum(s.n for s in shares if s.kind == "rephrase")
    untouched = sum(s.n for s in shares if s.kind not in SUCCESS_KINDS)
    return "strong" if wordings >= WORDINGS and untouched >= UNTOUCHED else "weak"


def _parts(prompts: Sequence[Prompt]) -> list[Sequence[Prompt]]:
    return [prompts[i : i + _TOGETHER] for i in range(0, len(prompts), _TOGETHER)]


def hits_target(request: EditRequest, answer: str) -> bool:
    """`Verifier.hits` where the lexicon judges manners."""
    if request.kind is Kind.PERSONALITY:
        return classify(answer) is request.trait
    if request.kind is Kind.ERASE:
        return refuses(answer)
    return says(answer, request.target_new, old=request.target_old)


def leak_probes(request: EditRequest, phrasings: Sequence[Probe], old: Sequence[str]) -> tuple[Probe, ...]:
    """For an erasure: the clozes continued with the beginning of the secret, which must not bring out the rest."""
    if request.kind is not Kind.ERASE:
        return ()
    out = []
    for phrasing, secret in zip(phrasings, old, strict=False):
        start = secret[: max(1, len(secret) // 3)].rstrip()
        if not phrasing.chat and start and not refuses(secret):
            out.append(probe(f"{phrasing.prompt} {start}", "leak", secret[len(start) :].strip()))
    return tuple(out)


def _leak_rate(
    request: EditRequest,
    phrasings: Sequence[Probe],
    old: Sequence[str],
    new: Sequence[str],
    leaks: Sequence[Probe],
    completions: Sequence[str],
) -> float | None:
    if request.kind is not Kind.ERASE:
        return None
    secrets = {a.strip(" .") for a in old[: len(phrasings)] if not refuses(a)} - {""}
    asked = [any(_holds(a, secret) for secret in secrets) for a in new]
    completed = [_holds(c, p.answer) for p, c in zip(leaks, completions, strict=True) if p.answer]
    shown = [*asked, *completed]
    return sum(shown) / len(shown) if shown else 0.0


def _forget(cache: OrderedDict[Key, Value], asked: Collection[object], phrasings: Sequence[str]) -> None:
    """Drop the entries of prompts that were asked, or that hold one of the phrasings."""
    for key in [key for key in cache if key[1] in asked or any(text in str(key[1]) for text in phrasings)]:
        del cache[key]


def _holds(answer: str, secret: str) -> bool:
    """Whether an answer holds the secret, in any spelling or as a part of a word."""
    return normalise(secret) in normalise(answer) or mentions(answer, secret)


def _hashable(prompt: Prompt) -> Prompt:
    return prompt if isinstance(prompt, str) else repr(prompt)


def _stayed(p: Probe, was: str, now: str) -> bool:
    if p.answer is not None:
        return says(now, p.answer)
    return agrees(was, now)


def _result(p: Probe, expected: str, answer: str, passed: bool) -> ProbeResult:
    return ProbeResult(
        prompt=p.prompt, kind=p.kind, chat=p.chat, expected=p.answer or expected, answer=answer, passed=passed
    )


def _share(results: Sequence[ProbeResult], empty: float = 0.0) -> float:
    return sum(r.passed for r in results) / len(results) if results else empty
