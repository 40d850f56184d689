"""The tables of a run: in Markdown as GitHub draws them, and as parts of a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ketools.core.results import Location
from ketools.evaluation.failures import Failure, failures
from ketools.evaluation.results import CaseResult, Measures, Summary
from ketools.evaluation.run import Run
from ketools.evaluation.runner import Checkpoint

CASES_SHOWN = 24
NOTHING = "–"

LOWER = frozenset(("kl", "leak", "leak_prefix", "leak_sampled", "leak_lens"))
"""Measures of which less is better."""
BEFORE = frozenset(("success_before", "fluency_before"))
"""What the untouched model reaches: neither good nor bad."""

_MAIN = ("success", "rephrase", "portability", "locality", "fluency")
_FORMS = ("success", "success_teacher_forced", "probability", "rephrase", "rephrase_teacher_forced", "success_before")
_KEPT = ("locality", "locality_tokens", "kl", "fluency", "fluency_before", "consistency")
_SPECIAL = ("refusal", "leak", "leak_prefix", "leak_sampled", "leak_lens", "manner_success", "trait_gain")


@dataclass(frozen=True)
class Table:
    """Rows of cells under a heading; `note` says what the numbers are, `text` that cells are words.

    A row whose first cell is empty goes on from the one above. `folded`: a page shows it when it is asked to.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: bool = False
    folded: bool = False

    def markdown(self) -> str:
        """The table as GitHub draws it."""
        lines = [self.header, tuple("---" for _ in self.header), *self.rows]
        drawn = "\n".join(
            f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in line)} |" for line in lines
        )
        return f"## {self.title}\n\n{self.note}\n\n{drawn}\n"

    def html(self) -> str:
        """The table without its title, as a part of a page."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.header)
        body = "".join(_row(row) for row in self.rows)
        kind = ' class="text"' if self.text else ""
        drawn = f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        return f'<p class="note">{escape(self.note)}</p>{drawn}'


def _row(row: Sequence[str]) -> str:
    kind = "" if row[0] else ' class="more"'
    return f"<tr{kind}>{''.join(map(_cell, row))}</tr>"


def _cell(text: str) -> str:
    """Intervals stand below, small; marks of right and wrong are coloured; control characters are shown as such."""
    text = "".join(c if c.isprintable() else "↵" if c == "\n" else "\ufffd" for c in text)
    value, _, interval = text.partition(" [")
    if interval:
        return f"<td>{escape(value)} <small>[{escape(interval)}</small></td>"
    mark = {"yes": ' class="right"', "no": ' class="wrong"'}.get(text, "")
    return f"<td{mark}>{escape(text)}</td>"


def _grouped(rows: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Rows of which a first cell is told once."""
    found: list[tuple[str, ...]] = []
    last = ""
    for first, *rest in rows:
        found.append(("" if first == last else first, *rest))
        last = first
    return tuple(found)


# --- numbers ---


def named(measure: str) -> str:
    """A measure in words, with an arrow towards what is better."""
    words = measure.replace("_", " ")
    return words if measure in BEFORE else f"{words} {'↓' if measure in LOWER else '↑'}"


def number(s: Measures, name: str, interval: tuple[float, float] | None = None, n: int | None = None) -> str:
    """A measure's value, with its interval and number of cases where they are told."""
    value = getattr(s, name)
    if value is None:
        return NOTHING
    digits = 1 if name.startswith("fluency") else 3
    told = f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}; n {n}]" if interval else ""
    return f"{value:.{digits}f}{told}"


def _sure(s: Summary, name: str) -> str:
    return number(s, name, s.ci.get(name), s.cases.get(name))


def _measures(title: str, note: str, whole: Mapping[str, Summary], names: Sequence[str]) -> Table:
    present = [name for name in names if any(getattr(s, name) is not None for s in whole.values())]
    rows = [(method, *(_sure(s, name) for name in present)) for method, s in whole.items()]
    return Table(title, note, ("method", *map(named, present)), tuple(rows))


# --- the tables ---


def overview(run: Run) -> Table:
    """The main measures, and what an edit costs."""
    note = (
        "Greedy answers; fluency in bits times 100. Median time and peak memory of an edit, and the most memory that "
        "one needed. failed: edits that were not made, which count as without effect."
    )
    plain = _measures("Overview", note, run.methods, _MAIN)
    rows = [(*row, *_costs(s)) for row, s in zip(plain.rows, run.methods.values(), strict=True)]
    return Table("Overview", note, (*plain.header, "ms/edit ↓", "peak MB ↓", "most MB ↓", "failed", "n"), tuple(rows))


def _costs(s: Summary) -> tuple[str, ...]:
    peaks = (NOTHING if mb is None else f"{mb:.1f}" for mb in (s.peak_mb, s.peak_mb_max))
    return (f"{s.ms_per_edit:.0f}", *peaks, str(s.failed), str(s.n))


def by_data_set(run: Run) -> Table:
    """The survey's Table 4: per data set a row for each measure, a column per method."""
    whole = run.methods
    tasks = dict.fromkeys(task for s in whole.values() for task in s.by_task)
    rows = [
        (f"{task} (n {max(one.n for one in found)})", label, *(number(s, name) if s else NOTHING for s in columns))
        for task in tasks
        if (columns := [s.by_task.get(task) for s in whole.values()]) and (found := [s for s in columns if s])
        for label, name in _asked_of(found)
    ]
    note = (
        "In the form of the survey's Table 4. The locality of ConvSent is the divergence from the untouched model (kl) "
        "there; portability is told where a data set asks for it. n: cases."
    )
    return Table("Methods by data set", note, ("data set", "measure", *whole), _grouped(rows))


def _asked_of(found: Sequence[Measures]) -> list[tuple[str, str]]:
    """The measures of one data set that any method has, with their labels."""
    manners = any(s.manner_success is not None for s in found)
    rows = [
        ("edit success ↑", "success"),
        ("edit success (ES) ↑", "manner_success"),
        ("rephrase ↑", "rephrase"),
        ("portability ↑", "portability"),
        ("locality ↑", "locality"),
        *([("locality (kl) ↓", "kl")] if manners else []),
        ("refusal ↑", "refusal"),
        ("leak ↓", "leak"),
        ("fluency ↑", "fluency"),
    ]
    return [(label, name) for label, name in rows if any(getattr(s, name) is not None for s in found)]


def success_forms(run: Run) -> Table:
    """Edit success as it is measured here, and as others measure it."""
    note = "Greedy answer; teacher-forced tokens; probability of the whole target. success before: without an edit."
    return _measures("Edit success, form by form", note, run.methods, _FORMS)


def what_stays(run: Run) -> Table:
    """Locality in its forms, and how the model writes."""
    return _measures("What stays", "kl: nats per token along the earlier answer.", run.methods, _KEPT)


def special(run: Run) -> Table:
    """Erasures and manners of speaking."""
    return _measures("Erasure and manners", "trait gain in nats.", run.methods, _SPECIAL)


def wrong_answers(found: Mapping[str, Mapping[Failure, int]]) -> Table:
    """How often each kind of wrong answer occurs."""
    rows = tuple((kind.value, *(str(kinds[kind]) for kinds in found.values())) for kind in Failure)
    if not any(sum(kinds.values()) for kinds in found.values()):
        rows = ()
    return Table("Wrong answers by kind", "To edits of facts and their rephrases.", ("kind", *found), rows)


def sequence(run: Run) -> Table:
    """Each checkpoint of a batch or a sequence."""
    names = ("success", "rephrase", "portability", "locality")
    rows = [
        (
            name,
            str(c.edits),
            *(_sure(c.summary, m) for m in names),
            _perplexity(c),
        )
        for name, method in run.methods.items()
        for c in method.checkpoints
    ]
    note = "Everything edited so far, asked under the layer that holds all of it."
    header = ("method", "edits", *map(named, names), "perplexity ↓")
    return Table("After so many edits", note, header, _grouped(rows))


def _perplexity(c: Checkpoint) -> str:
    return NOTHING if c.perplexity is None else f"{c.perplexity:.3f} [was {c.perplexity_before:.3f}; {c.tokens} tokens]"


def weights(run: Run) -> Table:
    """What each method's first edit changed, module by module."""
    rows = [
        (
            name,
            change.module,
            f"{change.sizes[0]}×{change.sizes[1]}",
            f"{change.relative:.4f}",
            f"{change.sparsity:.3f}",
            f"{change.top_columns:.3f}",
        )
        for name, method in run.methods.items()
        for change in method.changes
    ]
    note = (
        "Of each method's first edit. sparsity: entries below 1% of the greatest; "
        "top columns: share of the squared change in 1% of the columns."
    )
    header = ("method", "module", "size", "relative norm", "sparsity", "top columns")
    return Table("What changes in the weights", note, header, _grouped(rows))


def similarities(run: Run) -> Table:
    """How alike the blocks are in which facts are read."""
    found = {"phrasings": run.origins.phrasings, "chains": run.origins.chains} if run.origins else {}
    rows = [
        (
            f"{name} ({s.groups} groups, {s.facts} facts)",
            str(k),
            f"{near:.3f}",
            f"{overall:.3f}",
            f"{relative:.3f}",
        )
        for name, s in found.items()
        if s is not None
        for k, (near, overall, relative) in enumerate(zip(s.related, s.overall, s.relative, strict=True), 1)
    ]
    note = (
        "Of the untouched model. Share of the k strongest blocks that two facts have in common: of related ones (two "
        "phrasings; a fact and a question that goes on from it) and of any two; RSim is what the first adds."
    )
    return Table("Where facts are read", note, ("related by", "k", "related", "any", "RSim"), _grouped(rows))


def traces(run: Run) -> Table:
    """The traces of one case."""
    rows = [(role, *_trace(found)) for role, found in run.origins.example.items()] if run.origins else []
    note = "Causal traces on the untouched model: where putting back the FFN's output gives most of the answer back."
    header = ("question", "prompt", "first token", "probability", "corrupted", "block", "token")
    return Table("One subject, three questions", note, header, tuple(rows), text=True)


def _trace(found: Location) -> tuple[str, ...]:
    (block, token), *_ = found.strongest.values()
    numbers = (f"{found.clean:.3f}", f"{found.corrupted:.3f}", str(block))
    return (found.prompt, found.answer.strip(), *numbers, found.tokens[token].strip())


def bad_rows(run: Run) -> Table:
    """What could not be read, and why."""
    rows = tuple((place, why) for place, _, why in (row.partition(": ") for row in run.bad))
    return Table("Rows that could not be read", "", ("row", "why"), rows, text=True)


def cases(results: Mapping[str, Sequence[CaseResult]]) -> list[Table]:
    """Wrong ones first, so that what to mend is what is seen."""
    found = []
    for name, all_of_it in results.items():
        ordered = sorted(all_of_it, key=lambda r: (r.answers[0].passed, all(a.passed for a in r.answers)))
        rows = tuple(_case(r) for r in ordered[:CASES_SHOWN])
        wrong = sum(not r.answers[0].passed for r in all_of_it)
        note = f"{len(rows)} of {len(all_of_it)} cases, those with a wrong answer first; {wrong} edits are wrong."
        header = ("case", "prompt", "before", "target", "after", "right", "other answers right")
        found.append(Table(f"Cases: {name}", note, header, rows, text=True, folded=True))
    return found


def _case(result: CaseResult) -> tuple[str, ...]:
    first, *others = result.answers
    return (
        result.id,
        first.prompt,
        result.said_before or NOTHING,
        result.target,
        f"not edited: {result.failed}" if result.failed else first.answer,
        "yes" if first.passed else "no",
        f"{sum(a.passed for a in others)} of {len(others)}",
    )


def tables(run: Run, results: Mapping[str, Sequence[CaseResult]]) -> list[Table]:
    """Every table of the run as a whole that it has numbers for, in the order of the report."""
    found = [
        *(overview(run), by_data_set(run), success_forms(run), what_stays(run), special(run), sequence(run)),
        wrong_answers({name: failures(one) for name, one in results.items()}),
        *(weights(run), similarities(run), traces(run), bad_rows(run)),
    ]
    return [table for table in found if table.rows and len(table.header) > 1]
