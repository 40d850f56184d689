"""The survey's figures for a run, as SVG texts. matplotlib is imported here alone, and only when drawing."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

from ketools.core.errors import MissingExtra
from ketools.core.results import Location
from ketools.evaluation.failures import Failure
from ketools.evaluation.locating import heat_map
from ketools.evaluation.origins import Origins, Role
from ketools.evaluation.run import MethodRun, Run
from ketools.evaluation.weights import Change, Hits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[["Axes"], None]

WIDTH = 10.0
"""Of a row of panels, in inches."""

_COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#edae49", "#6b4c9a", "#4a4a4a", "#00798c", "#a9c8de")
_MARKERS = "osD^vPX*"


def figure(draw: Draw, width: float = 7.0, height: float = 3.2) -> str:
    """Draw on one pair of axes and give the SVG. Raises `MissingExtra` without matplotlib."""
    made = _new(width, height)
    draw(made.subplots())
    return _svg(made)


def _new(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtra("matplotlib", "report") from None
    return Figure(figsize=(width, height), layout="constrained")


def _svg(made: Figure) -> str:
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.hashsalt": "ketools", "svg.fonttype": "none"}):
        made.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def sub_metrics(run: Run) -> str:
    """Portability and locality by kind, a panel each with a bar per method (figure 3)."""
    kinds = [
        (group, kind)
        for group in ("portability", "locality")
        for kind in dict.fromkeys(k for s in run.methods.values() for k in s.by_kind[group])
    ]
    panels: list[Draw] = [partial(_sub_metric, run, group, kind) for group, kind in kinds]
    return _panels(panels, 3, 0.9 + 0.24 * len(run.methods)) if panels else ""


def _sub_metric(run: Run, group: str, kind: str, axes: Axes) -> None:
    found = [summary.by_kind[group].get(kind) for summary in run.methods.values()]
    values = [m.value or 0.0 if m else 0.0 for m in found]
    spans = [m.ci if m and m.ci else (v, v) for m, v in zip(found, values, strict=True)]
    errors = [
        [max(v - low, 0) for v, (low, _) in zip(values, spans, strict=True)],
        [max(high - v, 0) for v, (_, high) in zip(values, spans, strict=True)],
    ]
    colour = _colour(0 if group == "portability" else 2)
    axes.barh(list(run.methods), values, xerr=errors, color=colour, error_kw={"lw": 0.8})
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    n = max((m.n for m in found if m), default=0)
    axes.set_title(f"{group}: {kind.replace('_', ' ')} (n {n})", fontsize=9)
    axes.tick_params(labelsize=8)
    _plain(axes)


def sequence(run: Run) -> str:
    """The main measures after so many edits, a panel each (figure 4)."""
    found = {name: {m: _points(method, name) for m, method in run.methods.items()} for name in _IN_SEQUENCE}
    panels: list[Draw] = [partial(_curves, lines, name) for name, lines in found.items() if any(lines.values())]
    return _panels(panels, 2, 2.7) if panels else ""


_IN_SEQUENCE = ("success", "rephrase", "portability", "locality")


def _points(method: MethodRun, measure: str) -> list[tuple[int, float]]:
    return [(c.edits, v) for c in method.checkpoints if (v := getattr(c.summary, measure)) is not None]


def curves(lines: Mapping[str, Sequence[tuple[int, float]]], label: str) -> str:
    """Shares over numbers of edits, a line each."""
    return figure(partial(_curves, lines, label), 5.0)


def _curves(lines: Mapping[str, Sequence[tuple[int, float]]], label: str, axes: Axes) -> None:
    """Lines that lie on one another are told apart by their markers, the later ones smaller; a colour's second line is
    dashed."""
    for i, (name, points) in enumerate(lines.items()):
        marker, size = _MARKERS[i % len(_MARKERS)], max(9 - i, 3)
        x, y = zip(*points, strict=True) if points else ((), ())
        style = "-" if i < len(_COLOURS) else "--"
        axes.plot(x, y, style, label=name, marker=marker, ms=size, color=_colour(i), alpha=0.85)
    axes.set_xscale("log")
    stops = _apart([edits for points in lines.values() for edits, _ in points])
    axes.set_xticks(stops, [f"{stop:,}" for stop in stops], fontsize=8)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("edits", fontsize=8)
    _shares(axes, label)


def _apart(stops: Sequence[int], ratio: float = 2.0) -> list[int]:
    """Those stops whose labels have room on a logarithmic axis, the ones that most lines share first."""
    chosen: list[int] = []
    for stop, _ in Counter(sorted(stops)).most_common():
        if all(max(stop, other) >= ratio * min(stop, other) for other in chosen):
            chosen.append(stop)
    return sorted(chosen)


def wrong_answers(found: Mapping[str, Mapping[Failure, int]], asked: Mapping[str, int]) -> str:
    """Wrong answers by kind, stacked per method; `asked`: how many answers there are in all (figure 5)."""
    totals = {name: sum(kinds.values()) for name, kinds in found.items()}
    if not any(totals.values()):
        return ""

    def draw(axes: Axes) -> None:
        names = [f"{name} ({totals[name]} of {asked[name]})" for name in found]
        left = [0] * len(found)
        for i, kind in enumerate(Failure):
            counts = [kinds[kind] for kinds in found.values()]
            axes.barh(names, counts, left=left, label=kind.value, color=_colour(i))
            left = [a + b for a, b in zip(left, counts, strict=True)]
        axes.invert_yaxis()
        axes.set_xlabel("wrong answers", fontsize=8)
        axes.tick_params(labelsize=8)
        _legend(axes)
        _plain(axes)

    return figure(draw, 8.0, 1.2 + 0.3 * len(found))


def heat_maps(methods: Mapping[str, MethodRun]) -> str:
    """Where each method's first edit changed its most changed module (figure 6)."""
    found = {name: max(m.changes, key=lambda c: c.relative) for name, m in methods.items() if m.changes}
    panels: list[Draw] = [partial(_heat, name, change) for name, change in found.items() if change.relative]
    return _panels(panels, 4, 2.7) if panels else ""


def _heat(name: str, change: Change, axes: Axes) -> None:
    axes.imshow(change.heat, cmap="magma_r", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
    axes.set_title(f"{name}\n{change.module}", fontsize=8)
    axes.set_xlabel("input", fontsize=8)
    axes.set_ylabel("output", fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


def vocabulary_hits(methods: Mapping[str, MethodRun]) -> str:
    """Hit@10 and Hit@50 of the target in the changed columns, before and after (figure 7)."""
    chosen = {name: method.hits for name, method in methods.items() if method.hits}
    panels: list[Draw] = [partial(_hits, chosen, top) for top in (10, 50)]
    return _panels(panels, 2, 0.9 + 0.3 * len(chosen)) if chosen else ""


def _hits(chosen: Mapping[str, Hits], top: int, axes: Axes) -> None:
    for i, (when, label) in enumerate((("_before", "before"), ("", "after"))):
        values = [getattr(h, f"hit_{top}{when}") for h in chosen.values()]
        axes.barh([x + 0.35 * i for x in range(len(chosen))], values, 0.35, label=label, color=_colour((7, 0)[i]))
    axes.set_yticks([x + 0.18 for x in range(len(chosen))], list(chosen), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_xlabel(f"Hit@{top}: share of edits", fontsize=8)
    axes.tick_params(labelsize=8)
    _legend(axes)
    _plain(axes)


def restored(methods: Mapping[str, MethodRun]) -> str:
    """How far log probabilities moved with the edits, and how far they are after their undo (figure 10)."""
    chosen = {name: method.restoration for name, method in methods.items() if method.restoration}
    if not chosen:
        return ""

    def draw(axes: Axes) -> None:
        names = [f"{name} ({'exact' if r.exact else f'left: {r.left:g}'})" for name, r in chosen.items()]
        places = range(len(chosen))
        axes.barh([x - 0.2 for x in places], [r.moved for r in chosen.values()], 0.4, label="edited", color=_colour(1))
        axes.barh([x + 0.2 for x in places], [r.left for r in chosen.values()], 0.4, label="undone", color=_colour(2))
        axes.set_yticks(list(places), names, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("greatest change of a log probability (nats)", fontsize=8)
        axes.tick_params(labelsize=8)
        _legend(axes)
        _plain(axes)

    return figure(draw, 7.0, 1.2 + 0.3 * len(chosen))


def similarities(origins: Origins) -> str:
    """How much more alike related facts are read than any, by number of blocks (figure 8)."""
    chosen = {"two phrasings": origins.phrasings, "a fact and what goes on from it": origins.chains}

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        for i, (name, found) in enumerate(chosen.items()):
            if found is not None:
                blocks = range(1, len(found.relative) + 1)
                axes.plot(blocks, found.relative, marker=_MARKERS[i], label=name, color=_colour(i))
        axes.set_xlabel("strongest blocks", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _shares(axes, "RSim")

    return figure(draw, 5.0) if any(chosen.values()) else ""


def traces(found: Mapping[Role, Location]) -> str:
    """What putting back the states of one block and token does, a map per prompt (figure 9)."""
    if not found:
        return ""
    made = _new(3.8 * len(found), 1.5 + 0.2 * max(len(one.tokens) for one in found.values()))
    for axes, (role, one) in zip(made.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        heat_map(made, axes, one, next(iter(one.effects)))
        axes.set_title(f"{role}\n{axes.get_title()}", fontsize=9)
    return _svg(made)


def _panels(panels: Sequence[Draw], across: int, height: float) -> str:
    """Several pairs of axes, so many in a row."""
    columns = min(across, len(panels))
    rows = -(-len(panels) // columns)
    made = _new(WIDTH / across * columns, height * rows)
    places = made.subplots(rows, columns, squeeze=False).flatten()
    for draw, axes in zip_longest(panels, places):
        draw(axes) if draw else axes.set_axis_off()
    return _svg(made)


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]


def _shares(axes: Axes, label: str) -> None:
    axes.set_ylim(0, 1.05)
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    _legend(axes)
    _plain(axes)


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=8, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
