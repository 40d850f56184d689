"""Reads benchmarks into cases: KnowEdit's six sets, ZsRE, CounterFact, RippleEdits, PersonalityEdit, the bundled ones.

The format of a row is told by its fields. A row that cannot be read is reported with its index and the
reason, and counted in every summary.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ketools.core.errors import InvalidRequest, NotFound
from ketools.core.questions import is_question
from ketools.core.requests import REFUSAL, EditRequest, Kind, Trait
from ketools.core.text import normalise
from ketools.evaluation import ripple
from ketools.evaluation.cases import CaseProbe, EditCase, JointTest, Probes, interleaved
from ketools.knowledge.providers import data_sources, source_of
from ketools.knowledge.traits import exemplar

Row = Mapping[str, Any]


def data_names() -> tuple[str, ...]:
    """The registered data sets of single edits."""
    return tuple(name for source in data_sources().values() for name in source.names)


"""The bundled data sets that hold single edits."""

_SENTIMENTS = {"pos": Trait.POSITIVE, "neg": Trait.NEGATIVE}


@dataclass(frozen=True)
class BadRow:
    """A row that could not be read, where it stands, and why."""

    source: str
    index: int
    reason: str

    def __str__(self) -> str:
        return f"{self.source}, row {self.index}: {self.reason}"


@dataclass(frozen=True)
class Dataset:
    """What was read from one source; `bad` rows are no part of `cases`, whose ids are `source#row`."""

    source: str
    cases: tuple[EditCase, ...]
    bad: tuple[BadRow, ...] = ()

    def first(self, limit: int | None) -> list[EditCase]:
        """At most `limit` cases, the tasks taken in turn."""
        return interleaved(self.cases, limit)

    def without(self, reasons: Mapping[str, str]) -> Dataset:
        """The data set in which some cases are bad rows instead; `reasons` by the case's id.

        Raises `InvalidRequest` when no case is left.
        """
        cases = tuple(case for case in self.cases if case.id not in reasons)
        gone = (BadRow(self.source, int(case.rpartition("#")[2]), why) for case, why in reasons.items())
        return _some(Dataset(self.source, cases, tuple(sorted((*self.bad, *gone), key=lambda row: row.index))))


def load(source: str | Path, split: str = "test") -> Dataset:
    """Read a registered data set by name, or a JSON or JSON-lines file by path.

    Raises `NotFound` for an unknown name or path, `InvalidRequest` when a file is not JSON or none of its
    rows can be read.
    """
    name = str(source)
    registered = source_of(name)
    if registered is not None and name in registered.names:
        if split not in registered.splits:
            raise NotFound("split", split, registered.splits)
        return parse(registered.load(name, split), f"{name}:{split}")
    path = Path(source)
    if not path.is_file():
        raise NotFound("data set or file", name, data_names())
    return parse(read_rows(path), path.name, task=path.stem)


def parse(rows: Sequence[Row], source: str, task: str = "") -> Dataset:
    """Turn rows into cases. Raises `InvalidRequest` when not a single row can be read."""
    cases: list[EditCase] = []
    bad: list[BadRow] = []
    for i, row in enumerate(rows):
        try:
            reader = _reader(row)
            cases.append(reader(row, f"{source}#{i}", str(row.get("task") or task or source)))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            bad.append(BadRow(source, i, reason_of(error)))
    return _some(Dataset(source, tuple(cases), tuple(bad)))


def _some(data: Dataset) -> Dataset:
    if not data.cases:
        first = f" The first problem: {data.bad[0]}." if data.bad else ""
        raise InvalidRequest(f"{data.source} holds no row that can be read.{first}")
    return data


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON or JSON-lines file; of the latter a line that is no JSON stays the text that it is.

    Raises `InvalidRequest` when it is neither.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [line for line in text.split("\n") if line.strip()]  # a JSON string may hold other ends of line
        data = [_line(line) for line in lines] if path.suffix == ".jsonl" else json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidRequest(f"{path} is not valid JSON ({error}). Fetch the file again.") from error
    if isinstance(data, dict) and "K_F" in data:
        data = [data]
    if not isinstance(data, list):
        raise InvalidRequest(f"{path} must hold a JSON list of rows, not {type(data).__name__}.")
    return [one for row in data for one in _forgotten_singly(row)]


def _line(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _forgotten_singly(row: Any) -> list[Row]:
    """A row per fact to be forgotten: Sanitation lists several beside what is to be retained."""
    if not isinstance(row, dict) or not isinstance(row.get("K_F"), list) or len(row["K_F"]) < 2:
        return [row]
    return [{**row, "K_F": [item]} for item in row["K_F"]]


def reason_of(error: Exception) -> str:
    """Why a row could not be read, in words."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else str(first["msg"])
    if isinstance(error, IndexError):
        return "an answer or a list that is needed is empty"
    return f"the field {error} is missing" if isinstance(error, KeyError) else str(error)


Reader = Callable[[Row, str, str], EditCase]


def _reader(row: Row) -> Reader:
    """The reader for the row's format. Raises ValueError when no known format has these fields."""
    if not isinstance(row, Mapping):
        raise ValueError(f"a row must be an object, not {type(row).__name__}")
    if {"questions", "requested_rewrite"} <= row.keys():
        raise ValueError("MQuAKE's questions of several hops are asked by `ketools multihop --data FILE`")
    for fields, reader in _READERS:
        if fields <= row.keys():
            return reader
    raise ValueError(f"the fields {', '.join(sorted(row))} belong to no known format")


# --- probes ---


def probe(prompt: str, kind: str, answers: Sequence[str] = ()) -> CaseProbe:
    """A probe in the form its prompt asks for: a question as a chat turn, a cloze to continue."""
    first, *others = answers or (None,)
    return CaseProbe(
        prompt=prompt,
        kind=kind,
        chat=is_question(prompt),
        answer=first,
        aliases=tuple(str(other) for other in others if other is not None),
    )


def answers_of(truth: Any) -> list[str]:
    """The right answers in any of the published shapes: a string, a list, a list of lists of aliases."""
    if isinstance(truth, str):
        return [truth] if truth.strip() else []
    if isinstance(truth, list):
        return list(dict.fromkeys(answer for part in truth for answer in answers_of(part)))
    return [] if truth is None else [str(truth)]


def _grouped(groups: Any, needs_answer: bool) -> dict[str, Probes]:
    found: dict[str, Probes] = {}
    for kind, items in (groups or {}).items():
        probes = []
        for item in items if isinstance(items, list) else [items]:
            answers = answers_of(item.get("ground_truth"))
            if answers or not needs_answer:
                probes.append(probe(item["prompt"], kind, answers))
        if probes:
            found[kind] = tuple(probes)
    return found


def _texts(row: Row, *names: str) -> list[str]:
    """All texts of these fields, each a string or a list, without repetition."""
    return list(dict.fromkeys(text for name in names for text in answers_of(row.get(name))))


def _fact_case(row: Row, case: str, task: str, request: EditRequest, rephrases: Sequence[str]) -> EditCase:
    answers = [request.target_new]
    return EditCase(
        id=case,
        task=task,
        request=request,
        direct=probe(request.prompt, "direct", answers),
        rephrase=tuple(probe(text, "rephrase", answers) for text in rephrases if text != request.prompt),
        portability=_grouped(row.get("portability"), needs_answer=True),
        locality=_grouped(row.get("locality"), needs_answer=False),
        references=tuple(_texts(row, "references")),
    )


# --- one reader per format ---


def _knowedit(row: Row, case: str, task: str) -> EditCase:
    """WikiData_recent, WikiData_counterfact and ZsRE as KnowEdit writes them."""
    old = answers_of(row.get("ground_truth"))
    request = EditRequest(
        kind=Kind.MODIFY if old else Kind.INSERT,
        subject=row["subject"],
        prompt=row["prompt"],
        target_new=answers_of(row["target_new"])[0],
        target_old=old[0] if old else None,
        relation=row.get("relation"),
    )
    return _fact_case(row, case, task, request, _texts(row, "rephrase", "rephrases", "rephrase_prompt"))


def _wikibio(row: Row, case: str, task: str) -> EditCase:
    """A biography that goes on with the edited sentence."""
    request = EditRequest(
        subject=row["concept"],
        prompt=row["text"],
        target_new=answers_of(row["labels"])[0],
        relation=row.get("relation"),
    )
    return _fact_case(row, case, task, request, _texts(row, "rephrases"))


def _zsre(row: Row, case: str, task: str) -> EditCase:
    """ZsRE as MEND distributed it: `alt` is the new answer, `loc` an unrelated question."""
    target = row.get("alt") or answers_of(row["answers"])[0]
    old = [answer for answer in answers_of(row.get("answers")) if answer != target]
    request = EditRequest(
        subject=row["subject"], prompt=row["src"], target_new=target, target_old=old[0] if old else None
    )
    unrelated = {"Out_of_Distribution": [{"prompt": _ended(row["loc"]), "ground_truth": row.get("loc_ans")}]}
    found = {"locality": unrelated, "portability": row.get("portability")}
    return _fact_case(found, case, task, request, _texts(row, "rephrase"))


def _qaedit(row: Row, case: str, task: str) -> EditCase:
    """QAEdit (arXiv:2502.11177): questions that people asked, with several unrelated ones."""
    request = EditRequest(subject=row["subject"], prompt=_ended(row["prompt"]), target_new=row["target"].strip(" *"))
    unrelated = [{"prompt": _ended(one["loc"]), "ground_truth": one.get("loc_ans")} for one in row.get("locality", [])]
    found = {"locality": {"Out_of_Distribution": unrelated} if unrelated else {}}
    return _fact_case(found, case, task, request, [_ended(text) for text in _texts(row, "rephrase")])


def _ended(question: str) -> str:
    """Natural Questions come without a question mark, some with 'nq question: ' before them."""
    text = question.removeprefix("nq question: ").strip()
    return text if text.endswith(("?", ".")) else f"{text}?"


def _counterfact(row: Row, case: str, task: str) -> EditCase:
    """CounterFact as ROME distributed it."""
    rewrite = row["requested_rewrite"]
    request = EditRequest(
        subject=rewrite["subject"],
        prompt=rewrite["prompt"].format(rewrite["subject"]),
        target_new=rewrite["target_new"]["str"],
        target_old=rewrite["target_true"]["str"],
        relation=rewrite.get("relation_id"),
    )
    neighbours = [
        {"prompt": text, "ground_truth": rewrite["target_true"]["str"]} for text in row.get("neighborhood_prompts", [])
    ]
    found = {
        "locality": {"Neighborhood": neighbours} if neighbours else {},
        "references": [snippet["text"] for snippet in row.get("attribute_snippets", [])],
    }
    return _fact_case(found, case, task, request, _texts(row, "paraphrase_prompts"))


def _flat_counterfact(row: Row, case: str, task: str) -> EditCase:
    """CounterFact flattened: one rephrase and one neighbour a row."""
    request = EditRequest(
        subject=row["subject"],
        prompt=row["prompt"],
        target_new=row["target_new"],
        target_old=row.get("ground_truth"),
    )
    neighbour = {"prompt": row["locality_prompt"], "ground_truth": row["locality_ground_truth"]}
    found = {"locality": {"Neighborhood": [neighbour]}}
    return _fact_case(found, case, task, request, _texts(row, "rephrase_prompt"))


_CRITERIA = {
    "Reasoning": ripple.COMPOSED,
    "Subject_Aliasing": ("Subject_Aliasing",),
    "Logical_Generalization": ("Logical_Generalization",),
}


def _ripple(row: Row, case: str, task: str) -> EditCase:
    """RippleEdits: what should ripple is portability, preservation (as Forgetfulness) and specificity locality."""
    edit = row["edit"]
    request = ripple.request_of(edit)
    original = (edit.get("original_fact") or {}).get("prompt")
    if original:
        request = request.model_copy(update={"target_old": ripple.request_of({**edit, "prompt": original}).target_new})
    numbers = count()
    portability = {kind: tuple(_ripple_probes(row, kind, groups, numbers)) for kind, groups in _CRITERIA.items()}
    locality = {kind: tuple(_ripple_probes(row, kind, (kind,), numbers)) for kind in ripple.UNTOUCHED}
    groups = {"portability": portability, "locality": locality}
    asked = {name: {kind: probes for kind, probes in group.items() if probes} for name, group in groups.items()}
    return replace(_fact_case({}, case, task, request, ()), **asked)  # type: ignore[arg-type]


def _ripple_probes(row: Row, kind: str, groups: Sequence[str], numbers: Iterator[int]) -> Iterator[CaseProbe]:
    for test in (test for group in groups for test in ripple.tests(row, group)):
        conditions = tuple(probe(q["prompt"], "condition", ripple.answers_to(q)) for q in test.conditions)
        together = JointTest(number=next(numbers), every=test.every, conditions=conditions)
        for query in test.queries:
            yield probe(query["prompt"], kind, ripple.answers_to(query)).model_copy(update={"test": together})


def _convsent(row: Row, case: str, task: str) -> EditCase:
    """A feeling about a topic; rows without `target_new` are taken as positive, as the first list."""
    wanted = Trait(row.get("target_new") or Trait.POSITIVE)
    views = {trait: answers_of(row[name]) for name, trait in _SENTIMENTS.items()}
    others = [text for trait, texts in views.items() if trait is not wanted for text in texts]
    return _trait_case(row, case, task, wanted, views[wanted], others)


def _personality(row: Row, case: str, task: str) -> EditCase:
    """PersonalityEdit: a Big-Five trait to show about a topic."""
    wanted = Trait(str(row["target_per"]).lower())
    views = {trait: answers_of(row.get(trait.value)) for trait in Trait}
    others = [text for trait, texts in views.items() if trait is not wanted for text in texts]
    return _trait_case(row, case, task, wanted, views[wanted], others)


def _trait_case(row: Row, case: str, task: str, wanted: Trait, views: list[str], others: list[str]) -> EditCase:
    topic = row["ent"]
    request = EditRequest(
        kind=Kind.PERSONALITY,
        subject=topic,
        prompt=row.get("prompt") or f"What do you think of {topic}?",
        target_new=views[0] if views else exemplar(topic, wanted),
        trait=wanted,
    )
    made = _fact_case(row, case, task, request, _texts(row, "rephrases"))
    return replace(made, wanted=tuple(views), unwanted=tuple(others))


def _sanitation(row: Row, case: str, task: str) -> EditCase:
    """Erasure: K_F is to be forgotten, K_R to be retained."""
    forget = row["K_F"][0]
    secret = answers_of(forget["ground_truth"])[0]
    request = EditRequest(
        kind=Kind.ERASE,
        subject=forget["subject"],
        prompt=row.get("prompt") or forget.get("prompt") or forget["question"],
        target_new=row.get("target_new") or REFUSAL,
        target_old=secret,
        relation=forget.get("relation"),
    )
    asked = dict.fromkeys([forget["question"], *_texts(row, "rephrases")])
    retained = [{"prompt": i["question"], "ground_truth": i["ground_truth"]} for i in row.get("K_R", [])]
    same = [item for item in retained if normalise(request.subject) in normalise(item["prompt"])]
    other = [item for item in retained if item not in same]
    groups = {"Relation_Specificity": same, "Neighborhood": other}
    found = {"locality": {kind: items for kind, items in groups.items() if items}}
    return _fact_case(found, case, task, request, list(asked))


_READERS: tuple[tuple[frozenset[str], Reader], ...] = (
    (frozenset({"K_F"}), _sanitation),
    (frozenset({"ent", "target_per"}), _personality),
    (frozenset({"ent", "pos", "neg"}), _convsent),
    (frozenset({"concept", "text", "labels"}), _wikibio),
    (frozenset({"requested_rewrite"}), _counterfact),
    (frozenset({"edit", "Relation_Specificity"}), _ripple),
    (frozenset({"subject", "prompt", "target_new", "locality_prompt"}), _flat_counterfact),
    (frozenset({"subject", "prompt", "target_new"}), _knowedit),
    (frozenset({"subject", "prompt", "target", "rephrase"}), _qaedit),
    (frozenset({"src", "subject"}), _zsre),
)
