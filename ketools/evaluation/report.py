"""A run as one self-contained HTML page, and its tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ketools.core.errors import StorageError
from ketools.evaluation import figures
from ketools.evaluation.failures import fact_answers, failures
from ketools.evaluation.results import CaseResult
from ketools.evaluation.run import Protocol, Run
from ketools.evaluation.tables import Table, cases, tables

HTML = "report.html"
MARKDOWN = "report.md"

Results = Mapping[str, Sequence[CaseResult]]

_PROTOCOLS: dict[Protocol, str] = {
    "single": "Each case is edited from the untouched model, asked, and taken off again.",
    "batch": "All cases are edited at once, then asked.",
    "sequential": "The cases are edited one on top of the other; the numbers are those at the end.",
}

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d1d1f; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin: 2.4rem 0 .4rem }
p { margin: .3rem 0; max-width: 52rem } p.note, figcaption { color: #5c5c62; font-size: .87rem }
nav { margin: 1rem 0; font-size: .87rem; columns: 15rem }
nav a { display: block; color: #1b6ca8; text-decoration: none }
table { border-collapse: collapse; font-size: .85rem; margin: .6rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .28rem .6rem; text-align: right; vertical-align: top; border-top: 1px solid #e2e2e6 }
tr.more td { border-top: 0 } tr.more td + td { border-top: 1px solid #f2f2f4 }
th:first-child, td:first-child, table.text td, table.text th { text-align: left }
thead th { border-top: 0; border-bottom: 2px solid #8a8a90; vertical-align: bottom }
td:first-child, td.right, td.wrong { white-space: nowrap } table.text td:first-child { white-space: normal }
small { display: block; color: #77777d; white-space: nowrap; font-size: .72rem }
figure { margin: 0 } figcaption { max-width: 52rem; margin: .3rem 0 } svg { max-width: 100%; height: auto }
.scroll { overflow-x: auto } .right { color: #1c7a43 } .wrong { color: #b3263b }
summary { cursor: pointer; font-weight: 600; margin: .5rem 0 }
"""


@dataclass(frozen=True)
class Figure:
    """A figure under a heading; `caption` says which of the survey's it has the form of, and over how many."""

    title: str
    caption: str
    draw: Callable[[], str]


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


def write_figures(folder: Path, into: Path) -> list[Path]:
    """Draw each figure of the run in `folder` to an SVG file of its own, named by its title.

    Raises what `write_report` raises.
    """
    run = Run.read(folder)
    results = {name: run.results(folder, name) for name in run.methods}
    found = []
    try:
        into.mkdir(parents=True, exist_ok=True)
        for figure in figures_of(run, results):
            if svg := figure.draw():
                found.append(into / f"{_anchor(figure.title)}.svg")
                found[-1].write_text(svg, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The figures cannot be written to {into}: {error}.") from error
    return found


def markdown(run: Run, results: Results) -> str:
    """The tables alone."""
    return f"# {_title(run)}\n\n{_about(run)}\n\n" + "\n".join(table.markdown() for table in tables(run, results))


def html(run: Run, results: Results) -> str:
    """The whole page; nothing in it is loaded from elsewhere."""
    sections = [*_sections(tables(run, results), figures_of(run, results))]
    links = "".join(f'<a href="#{_anchor(title)}">{escape(title)}</a>' for title, _ in (*sections, ("Cases", "")))
    body = "".join(_section(title, content) for title, content in sections)
    shown = "".join(_folded(table) for table in cases(results))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(_title(run))}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(_title(run))}</h1><p>{escape(_about(run))}</p>"
        f"<nav>{links}</nav>{body}{_section('Cases', shown)}</body></html>\n"
    )


def _sections(found: Sequence[Table], drawn: Iterable[Figure]) -> Iterator[tuple[str, str]]:
    """Tables, then figures, each with its title; figures without anything to draw are left out."""
    for table in found:
        yield table.title, table.html()
    for figure in drawn:
        if svg := figure.draw():
            yield figure.title, f"<figure><figcaption>{escape(figure.caption)}</figcaption>{svg}</figure>"


def _section(title: str, content: str) -> str:
    return f'<h2 id="{_anchor(title)}">{escape(title)}</h2>{content}'


def _folded(table: Table) -> str:
    return f"<details><summary>{escape(table.title)}</summary>{table.html()}</details>"


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower())


def _title(run: Run) -> str:
    return f"Evaluation: {f'{run.train} ⇒ ' if run.train else ''}{run.data}, {run.protocol}"


def _about(run: Run) -> str:
    n, bad, unasked = (max((getattr(s, name) for s in run.methods.values()), default=0) for name in _COUNTED)
    left_out = f" {unasked} prompts were not asked: they rest on what it does not know." if unasked else ""
    return (
        f"Model {run.model_name} ({run.model_hash[:12]}) on the engine {run.engine}; {n} cases, "
        f"{bad} rows could not be read.{left_out} {_PROTOCOLS[run.protocol]} In brackets: 95% bootstrap intervals over "
        "cases, and n, the number of cases. ↑: more is better, ↓: less is."
    )


_COUNTED = ("n", "bad_rows", "unasked")


# --- figures ---


def figures_of(run: Run, results: Results) -> Iterator[Figure]:
    """The survey's figures 3 to 10, as far as the run has numbers for them."""
    n = max((s.n for s in run.methods.values()), default=0)
    yield Figure(
        "Portability and locality by kind",
        "In the form of the survey's figure 3: share of answers that follow the edit (portability) or stay (locality), "
        f"by kind, with 95% intervals; n cases of each kind in its title, of {n}.",
        lambda: figures.sub_metrics(run),
    )
    if run.protocol == "sequential":
        yield Figure(
            "In a sequence",
            "In the form of the survey's figure 4: all cases edited so far, asked under the layer of all of them; "
            "n is the number of edits on the axis.",
            lambda: figures.sequence(run),
        )
    yield Figure(
        "Wrong answers",
        "In the form of the survey's figure 5: answers to edits of facts and their rephrases that are wrong, by kind; "
        "n in brackets: wrong ones of all.",
        lambda: figures.wrong_answers(
            {name: failures(one) for name, one in results.items()},
            {name: len(list(fact_answers(one))) for name, one in results.items()},
        ),
    )
    yield from _of_weights(run)
    yield from _of_places(run)
    yield _of_undo(run)


def _of_weights(run: Run) -> Iterator[Figure]:
    n = max((m.hits.n for m in run.methods.values() if m.hits), default=0)
    yield Figure(
        "Where the weights change",
        "In the form of the survey's figure 6: the module that each method's first edit changes most (n 1 edit); "
        "darker is more, each map's greatest cell is 1.",
        lambda: figures.heat_maps(run.methods),
    )
    yield Figure(
        "The target in the changed columns",
        "In the form of the survey's figure 7: whether the five most changed columns of the most changed down "
        f"projection say the target's first token, before and after the edit; n {n} edits of each method at most.",
        lambda: figures.vocabulary_hits(run.methods),
    )


def _of_places(run: Run) -> Iterator[Figure]:
    if (origins := run.origins) is None:
        return
    pairs = (("phrasings", origins.phrasings), ("chains", origins.chains))
    told = [f"{s.groups} groups of {name} ({s.facts} facts)" for name, s in pairs if s]
    yield Figure(
        "Related facts",
        "In the form of the survey's figure 8: how much more alike the blocks are in which related facts are read than "
        f"those of any two (RSim), on the untouched model; n {', '.join(told)}.",
        lambda: figures.similarities(origins),
    )
    yield Figure(
        "Where one subject is read",
        "In the form of the survey's figure 9: what putting back the FFN's output of one block and token gives back of "
        "the answer's probability: a fact, a question that goes on from it, and another fact of its subject; n 1 case.",
        lambda: figures.traces(origins.example),
    )


def _of_undo(run: Run) -> Figure:
    found = [m.restoration for m in run.methods.values() if m.restoration]
    prompts, tokens = (max((getattr(r, name) for r in found), default=0) for name in ("n", "tokens"))
    return Figure(
        "After undo",
        "In the place of the survey's figure 10: how far log probabilities along the untouched model's answers move "
        f"with at most eight edits, and what is left after their undo; n {prompts} prompts, {tokens} tokens at most.",
        lambda: figures.restored(run.methods),
    )
