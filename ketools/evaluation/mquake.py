"""Reads benchmarks of multi-hop questions: MQuAKE in all its editions, the bundled one, and RippleEdits.

MQuAKE: arXiv:2305.14795 (CF, CF-3k, CF-3k-v2 and T share one format). RippleEdits: arXiv:2307.12976.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ketools.core.errors import InvalidRequest, NotFound
from ketools.core.requests import EditRequest
from ketools.core.text import normalise
from ketools.evaluation import ripple
from ketools.evaluation.data import BadRow, Row, read_rows, reason_of
from ketools.knowledge.providers import data_sources, source_of

NAME = "atlas-mquake"

Key = tuple[str, str]
"""(subject, relation), as identifiers where the data set has them, else as normalised names."""


@dataclass(frozen=True)
class HopFact:
    """One hop: the fact's key, what the fact says, and how it is asked for."""

    key: Key
    target: str
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class CaseEdit:
    """One edit of a case; `target` is the identifier of the new object."""

    key: Key
    target: str
    request: EditRequest


@dataclass(frozen=True)
class MultihopCase:
    """Edits and questions whose answers follow from them.

    `before`, `after`: the chain without and with the case's own edits, empty when the data set has none.
    `old_answers`, `new_answers`: each with its other names.
    """

    id: str
    edits: tuple[CaseEdit, ...]
    questions: tuple[str, ...]
    new_answers: tuple[str, ...]
    old_answers: tuple[str, ...] = ()
    before: tuple[HopFact, ...] = ()
    after: tuple[HopFact, ...] = ()


@dataclass(frozen=True)
class Untouched:
    """A question that edits should not change; `keys` are the facts that its answer rests on."""

    question: str
    answers: tuple[str, ...]
    keys: frozenset[Key]


@dataclass(frozen=True)
class MultihopData:
    """What was read. `untouched` are questions that come with the data set beside its cases."""

    source: str
    cases: tuple[MultihopCase, ...]
    untouched: tuple[Untouched, ...] = ()
    bad: tuple[BadRow, ...] = ()


def load_multihop(source: str | Path) -> MultihopData:
    """Read a registered data set of several hops by name, or a JSON file in MQuAKE's or RippleEdits' format by path.

    Raises `NotFound` for an unknown name or path, `InvalidRequest` when nothing in it can be read.
    """
    name = str(source)
    registered = source_of(name)
    if registered is not None and name in registered.multihop:
        train, test = (parse_multihop(registered.load(name, split), f"{name}:{split}") for split in ("train", "test"))
        return _with_untouched(test, train.cases)
    path = Path(source)
    if not path.is_file():
        raise NotFound("data set or file", name, [each for one in data_sources().values() for each in one.multihop])
    return parse_multihop(read_rows(path), path.name)


def _with_untouched(data: MultihopData, others: Iterable[MultihopCase]) -> MultihopData:
    return MultihopData(data.source, data.cases, tuple(q for c in others for q in untouched_of(c)), data.bad)


def untouched_of(case: MultihopCase) -> Iterator[Untouched]:
    """The case's questions as they were before its edits."""
    keys = frozenset(hop.key for hop in case.before)
    for question in case.questions if case.before else ():
        yield Untouched(question, case.old_answers, keys)


def parse_multihop(rows: Sequence[Row], source: str) -> MultihopData:
    """Turn rows into cases. Raises `InvalidRequest` when not a single row can be read."""
    cases: list[MultihopCase] = []
    untouched: list[Untouched] = []
    bad: list[BadRow] = []
    for i, row in enumerate(rows):
        try:
            found, beside = _read(row, f"{source}#{i}")
            cases += found
            untouched += beside
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            bad.append(BadRow(source, i, reason_of(error)))
    if not cases:
        first = f" The first problem: {bad[0]}." if bad else ""
        raise InvalidRequest(f"{source} holds no multi-hop case that can be read.{first}")
    return MultihopData(source, tuple(cases), tuple(untouched), tuple(bad))


def _read(row: Row, case: str) -> tuple[list[MultihopCase], list[Untouched]]:
    if not isinstance(row, Mapping):
        raise ValueError(f"a row must be an object, not {type(row).__name__}")
    if "questions" in row and "requested_rewrite" in row:
        return [_mquake(row, case)], []
    if ripple.is_ripple(row):
        return _ripple(row, case)
    raise ValueError(f"the fields {', '.join(sorted(row))} belong to no known format")


# --- MQuAKE ---


def _names(answer: object, aliases: object) -> tuple[str, ...]:
    others = aliases if isinstance(aliases, list) else []
    return tuple(dict.fromkeys(str(name) for name in (answer, *others) if str(name).strip()))


def _mquake(row: Row, case: str) -> MultihopCase:
    orig = row.get("orig") or {}
    questions = tuple(str(q) for q in row["questions"])
    if not questions:
        raise ValueError("there is no question")
    return MultihopCase(
        id=case,
        edits=_rewrites(row["requested_rewrite"], orig.get("edit_triples") or []),
        questions=questions,
        new_answers=_names(row["new_answer"], row.get("new_answer_alias")),
        old_answers=_names(row["answer"], row.get("answer_alias")),
        before=_hops(row.get("single_hops") or [], orig.get("triples") or []),
        after=_hops(row.get("new_single_hops") or [], orig.get("new_triples") or []),
    )


def _rewrites(rewrites: Sequence[Row], triples: Sequence[Sequence[str]]) -> tuple[CaseEdit, ...]:
    """Each with its triple; of two that change the same relation to the same object, in their order."""
    left, found = list(triples), []
    for rewrite in rewrites:
        found.append(_rewrite(rewrite, left))
        left = [t for t in left if (t[0], t[1]) != found[-1].key]
    return tuple(found)


def _rewrite(rewrite: Row, triples: Sequence[Sequence[str]]) -> CaseEdit:
    relation, new, subject = rewrite["relation_id"], rewrite["target_new"], rewrite["subject"]
    same = [t for t in triples if t[1] == relation and t[2] == new.get("id")]
    return CaseEdit(
        key=(same[0][0] if same else normalise(subject), relation),
        target=new.get("id") or normalise(new["str"]),
        request=EditRequest(
            subject=subject,
            prompt=rewrite["prompt"].format(subject),
            target_new=new["str"],
            target_old=(rewrite.get("target_true") or {}).get("str"),
            relation=relation,
        ),
    )


def _hops(hops: Sequence[Row], triples: Sequence[Sequence[str]]) -> tuple[HopFact, ...]:
    """The hops of a chain; without triples its facts cannot be told apart, so there are none."""
    if len(hops) != len(triples):
        return ()
    return tuple(
        HopFact((s, r), o, str(hop["question"]), _names(hop["answer"], hop.get("answer_alias")))
        for hop, (s, r, o) in zip(hops, triples, strict=True)
    )


# --- RippleEdits ---


def _ripple(row: Row, case: str) -> tuple[list[MultihopCase], list[Untouched]]:
    """One case per two-hop query; queries whose answers an edit leaves alone go beside."""
    edit = _ripple_edit(row["edit"])
    asked = [q for group in ripple.COMPOSED for q in ripple.queries(row, group) if q.get("query_type") == "two_hop"]
    cases = [
        MultihopCase(f"{case}.{i}", (edit,), (str(query["prompt"]),), ripple.answers_to(query))
        for i, query in enumerate(asked)
    ]
    if not cases:
        raise ValueError("no query of two hops")
    beside = [
        Untouched(str(q["prompt"]), ripple.answers_to(q), frozenset({(q["subject_id"], q["relation"])}))
        for group in ripple.UNTOUCHED
        for q in ripple.queries(row, group)
    ]
    return cases, beside


def _ripple_edit(edit: Row) -> CaseEdit:
    request = ripple.request_of(edit)
    return CaseEdit(
        key=(edit["subject_id"], edit["relation"]),
        target=str(edit.get("target_id") or normalise(request.target_new)),
        request=request,
    )
