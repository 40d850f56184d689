"""A run as one self-contained HTML page, and its tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ketools.errors import StorageError
from ketools.evaluation import figures
from ketools.evaluation.failures import Failure, failures
from ketools.evaluation.results import CaseResult, Measures, Summary
from ketools.evaluation.run import Run
from ketools.locating import Location

HTML = "report.html"
MARKDOWN = "report.md"
CASES_SHOWN = 24

_MAIN = ("success", "rephrase", "portability", "locality", "fluency")
_FORMS = ("success", "success_teacher_forced", "probability", "rephrase", "rephrase_teacher_forced", "success_before")
_KEPT = ("locality", "locality_tokens", "kl", "fluency", "fluency_before", "consistency")
_SPECIAL = ("refusal", "leak", "leak_prefix", "leak_sampled", "leak_lens", "manner_success", "trait_gain")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d1d1f; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
p { margin: .3rem 0 } p.note { color: #5c5c62; font-size: .87rem }
table { border-collapse: collapse; font-size: .85rem; margin: .6rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .28rem .6rem; border-bottom: 1px solid #e2e2e6; text-align: right; vertical-align: top }
th:first-child, td:first-child, table.text td, table.text th { text-align: left }
thead th { border-bottom: 2px solid #8a8a90; white-space: nowrap } small { color: #77777d; white-space: nowrap }
svg { max-width: 100%; height: auto } .scroll { overflow-x: auto } .right { color: #1c7a43 } .wrong { color: #b3263b }
"""


@dataclass(frozen=True)
class Table:
    """Rows of cells under a heading; `note` says what the numbers are, `text` that cells are words."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: bool = False

    def markdown(self) -> str:
        """The table as GitHub draws it."""
        lines = [self.header, tuple("---" for _ in self.header), *self.rows]
        drawn = "\n".join(
            f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in line)} |" for line in lines
        )
        return f"## {self.title}\n\n{self.note}\n\n{drawn}\n"

    def html(self) -> str:
        """The table as a part of a page."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.header)
        body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in self.rows)
        kind = ' class="text"' if self.text else ""
        drawn = f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        return f'<h2>{escape(self.title)}</h2><p class="note">{escape(self.note)}</p>{drawn}'


def _cell(text: str) -> str:
    """Intervals are small; marks of right and wrong are coloured; control characters are shown as unknown ones."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    value, _, interval = text.partition(" [")
    if interval:
        return f"<td>{escape(value)} <small>[{escape(interval)}</small></td>"
    mark = {"yes": ' class="right"', "no": ' class="wrong"'}.get(text, "")
    return f"<td{mark}>{escape(text)}</td>"


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` beside a run.

    Raises `NotFound`, `InvalidRequest` (see `Run.read`), `MissingExtra` without matplotlib, `StorageError`.
    """
    run = Run.read(folder)
    results = {name: run.results(folder, name) for name in run.methods}
    page, text = html(run, results), markdown(run, results)
    paths = folder / HTML, folder / MARKDOWN
    try:
        for path, content in zip(paths, (page, text), strict=True):
            path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The report cannot be written to {folder}: {error}.") from error
    return paths


def markdown(run: Run, results: dict[str, list[CaseResult]]) -> str:
    """The tables alone."""
    return f"# {_title(run)}\n\n{_about(run)}\n\n" + "\n".join(table.markdown() for table in tables(run, results))


def html(run: Run, results: dict[str, list[CaseResult]]) -> str:
    """The whole page; nothing in it is loaded from elsewhere."""
    drawn = "".join(
        f'<h2>{escape(title)}</h2><p class="note">{escape(note)}</p><div class="figure">{svg}</div>'
        for title, note, svg in _figures(run, results)
        if svg
    )
    body = "".join(table.html() for table in tables(run, results))
    shown = "".join(table.html() for table in _cases(results))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(_title(run))}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(_title(run))}</h1><p>{escape(_about(run))}</p>"
        f"{body}{drawn}{shown}</body></html>\n"
    )


def _title(run: Run) -> str:
    return f"Evaluation: {f'{run.train} ⇒ ' if run.train else ''}{run.data}, {run.protocol}"


def _about(run: Run) -> str:
    n = max((s.n for s in run.methods.values()), default=0)
    bad = max((s.bad_rows for s in run.methods.values()), default=0)
    return (
        f"Model {run.model_name} ({run.model_hash[:12]}) on the engine {run.engine}; {n} cases, "
        f"{bad} rows could not be read. In brackets: 95% bootstrap intervals over cases."
    )


# --- tables ---


def tables(run: Run, results: dict[str, list[CaseResult]]) -> list[Table]:
    """Every table that the run has numbers for."""
    whole = run.methods
    found = [
        _measures(
            "Overview",
            "Greedy answers; fluency in bits times 100; median time and peak memory of an edit, and the most memory.",
            whole,
            _MAIN,
            speed=True,
        ),
        _measures(
            "Edit success, form by form",
            "Greedy answer; teacher-forced tokens; probability of the whole target. success_before: without an edit.",
            whole,
            _FORMS,
        ),
        _measures("What stays", "kl: nats per token along the earlier answer, lower is better.", whole, _KEPT),
        _measures("Erasure and manners", "Leaks: lower is better. trait_gain in nats.", whole, _SPECIAL),
        _by_task(whole),
        _failures({name: failures(found) for name, found in results.items()}),
        _sequence(run),
        _weights(run),
        _similarities(run),
        _traces(run),
        Table("Rows that could not be read", "", ("row", "why"), tuple(_bad(row) for row in run.bad), text=True),
    ]
    return [table for table in found if table.rows and len(table.header) > 1]


def _measures(title: str, note: str, whole: Mapping[str, Summary], names: Sequence[str], speed: bool = False) -> Table:
    present = [name for name in names if any(getattr(s, name) is not None for s in whole.values())]
    rows = []
    for method, s in whole.items():
        cells = [_number(s, name, s.ci.get(name), s.cases.get(name)) for name in present]
        rows.append((method, *cells, *(_costs(s) if speed else ())))
    extra = _COSTS if speed else ()
    return Table(title, note, ("method", *present, *extra), tuple(rows))


_COSTS = ("ms/edit", "peak MB", "most MB", "failed", "n")


def _costs(s: Summary) -> tuple[str, ...]:
    peaks = ("–" if mb is None else f"{mb:.1f}" for mb in (s.peak_mb, s.peak_mb_max))
    return (f"{s.ms_per_edit:.0f}", *peaks, str(s.failed), str(s.n))


def _number(s: Measures, name: str, interval: tuple[float, float] | None = None, n: int | None = None) -> str:
    value = getattr(s, name)
    if value is None:
        return "–"
    digits = 1 if name.startswith("fluency") else 3
    told = f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}; n {n}]" if interval else ""
    return f"{value:.{digits}f}{told}"


def _by_task(whole: Mapping[str, Summary]) -> Table:
    """The form of the survey's Table 4: a row per task and measure, a column per method."""
    tasks = dict.fromkeys(task for s in whole.values() for task in s.by_task)
    names = ("success", "rephrase", "portability", "locality", "kl", "fluency", "refusal", "manner_success")
    rows = [
        (task, name, *(_number(s.by_task[task], name) if task in s.by_task else "–" for s in whole.values()))
        for task in tasks
        for name in names
        if any(task in s.by_task and getattr(s.by_task[task], name) is not None for s in whole.values())
    ]
    note = "The survey's Table 4 in form: cases per task " + ", ".join(
        f"{task} {max(s.by_task[task].n for s in whole.values() if task in s.by_task)}" for task in tasks
    )
    return Table("By task", note + ".", ("task", "measure", *whole), tuple(rows))


def _failures(found: dict[str, dict[Failure, int]]) -> Table:
    rows = tuple((kind.value, *(str(kinds[kind]) for kinds in found.values())) for kind in Failure)
    if not any(sum(kinds.values()) for kinds in found.values()):
        rows = ()
    return Table("Wrong answers by kind", "To edits of facts and their rephrases.", ("kind", *found), rows)


def _sequence(run: Run) -> Table:
    names = ("success", "rephrase", "portability", "locality")
    rows = [
        (
            name,
            str(c.edits),
            *(_number(c.summary, m, c.summary.ci.get(m), c.summary.cases.get(m)) for m in names),
            "–" if c.perplexity is None else f"{c.perplexity:.3f} (was {c.perplexity_before:.3f}, {c.tokens} tokens)",
        )
        for name, method in run.methods.items()
        for c in method.checkpoints
    ]
    note = "Everything edited so far, asked under the layer that holds all of it."
    return Table("After so many edits", note, ("method", "edits", *names, "perplexity"), tuple(rows))


def _weights(run: Run) -> Table:
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
    return Table("What changes in the weights", note, header, tuple(rows))


def _similarities(run: Run) -> Table:
    found = {"phrasings": run.origins.phrasings, "chains": run.origins.chains} if run.origins else {}
    rows = [
        (name, str(k), f"{near:.3f}", f"{overall:.3f}", f"{relative:.3f}", f"{s.groups} groups, {s.facts} facts")
        for name, s in found.items()
        if s is not None
        for k, (near, overall, relative) in enumerate(zip(s.related, s.overall, s.relative, strict=True), 1)
    ]
    note = (
        "Of the untouched model. Share of the k strongest blocks that two facts have in common: of related ones (two "
        "phrasings; a fact and a question that goes on from it) and of any two; RSim is what the first adds."
    )
    return Table("Where facts are read", note, ("related by", "k", "related", "any", "RSim", "n"), tuple(rows))


def _traces(run: Run) -> Table:
    rows = [(role, *_trace(found)) for role, found in run.origins.example.items()] if run.origins else []
    note = "Causal traces on the untouched model: where putting back the FFN's output gives most of the answer back."
    header = ("question", "prompt", "first token", "probability", "corrupted", "block", "token")
    return Table("One subject, three questions", note, header, tuple(rows), text=True)


def _trace(found: Location) -> tuple[str, ...]:
    (block, token), *_ = found.strongest.values()
    numbers = (f"{found.clean:.3f}", f"{found.corrupted:.3f}", str(block))
    return (found.prompt, found.answer.strip(), *numbers, found.tokens[token].strip())


def _bad(row: str) -> tuple[str, str]:
    place, _, why = row.partition(": ")
    return place, why


# --- figures and cases ---


def _figures(run: Run, results: dict[str, list[CaseResult]]) -> Iterable[tuple[str, str, str]]:
    yield "Portability and locality by kind", "The survey's figure 3.", figures.sub_metrics(run)
    if run.protocol == "sequential":
        for measure in ("success", "locality"):
            yield f"{measure} in a sequence", "The survey's figure 4.", figures.sequence(run, measure)
    wrong = {name: failures(found) for name, found in results.items()}
    if any(sum(kinds.values()) for kinds in wrong.values()):
        yield "Wrong answers", "The survey's figure 5.", figures.wrong_answers(wrong)
    yield (
        "Where the weights change",
        "The survey's figure 6; each map's greatest cell is 1.",
        figures.heat_maps(run.methods),
    )
    n = max((m.hits.n for m in run.methods.values() if m.hits), default=0)
    note = f"The survey's figure 7: the target's first token in the five most changed columns, n {n}."
    yield "The target in the changed columns", note, figures.vocabulary_hits(run.methods)
    if run.origins:
        note = "The survey's figure 8: RSim of the strongest blocks, of the untouched model."
        yield "Related facts", note, figures.similarities(run.origins)
        note = "The survey's figure 9: a fact, a question that goes on from it, another fact of its subject."
        yield "Where one subject is read", note, figures.traces(run.origins.example)
    yield (
        "After undo",
        "The survey's figure 10: log probabilities with the edits, and without.",
        figures.restored(run.methods),
    )


def _cases(results: dict[str, list[CaseResult]]) -> list[Table]:
    """Wrong ones first, so that what to mend is what is seen."""
    found = []
    for name, cases in results.items():
        ordered = sorted(cases, key=lambda r: all(a.passed for a in r.answers))
        rows = tuple(_case(r) for r in ordered[:CASES_SHOWN])
        note = f"{len(rows)} of {len(cases)}, those with a wrong answer first."
        header = ("case", "prompt", "before", "target", "after", "right", "other answers right")
        found.append(Table(f"Cases: {name}", note, header, rows, text=True))
    return found


def _case(result: CaseResult) -> tuple[str, ...]:
    first, *others = result.answers
    return (
        result.id,
        first.prompt,
        result.said_before or "–",
        result.target,
        f"not edited: {result.failed}" if result.failed else first.answer,
        "yes" if first.passed else "no",
        f"{sum(a.passed for a in others)} of {len(others)}",
    )
