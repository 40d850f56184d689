"""The survey's figures for a run, as SVG texts. matplotlib is imported here alone, and only when drawing."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ketools.errors import MissingExtra
from ketools.evaluation.failures import Failure
from ketools.evaluation.origins import Origins, Role
from ketools.evaluation.run import MethodRun, Run
from ketools.locating import Location, heat_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[["Axes"], None]

_COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#edae49", "#6b4c9a", "#4a4a4a", "#00798c", "#b5651d")


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
    """Portability and locality by kind, a bar per method (figure 3)."""
    kinds = [
        (group, kind)
        for group in ("portability", "locality")
        for kind in dict.fromkeys(k for s in run.methods.values() for k in s.by_kind[group])
    ]
    if not kinds:
        return ""

    def draw(axes: Axes) -> None:
        width = 0.8 / len(run.methods)
        for i, (name, summary) in enumerate(run.methods.items()):
            found = [summary.by_kind[group].get(kind) for group, kind in kinds]
            values = [m.value or 0.0 if m else 0.0 for m in found]
            spans = [m.ci if m and m.ci else (v, v) for m, v in zip(found, values, strict=True)]
            errors = [
                [max(v - low, 0) for v, (low, _) in zip(values, spans, strict=True)],
                [max(high - v, 0) for v, (_, high) in zip(values, spans, strict=True)],
            ]
            places = [x + i * width for x in range(len(kinds))]
            axes.bar(places, values, width, yerr=errors, label=name, color=_colour(i), error_kw={"lw": 0.8})
        axes.set_xticks(
            [x + 0.4 - width / 2 for x in range(len(kinds))], [kind.replace("_", "\n") for _, kind in kinds]
        )
        axes.tick_params(axis="x", labelsize=8)
        _shares(axes, "share of answers that are right or unchanged")

    return figure(draw, 8.5)


def sequence(run: Run, measure: str) -> str:
    """One measure after so many edits (figure 4)."""
    return curves({name: _points(method, measure) for name, method in run.methods.items()}, measure)


def _points(method: MethodRun, measure: str) -> list[tuple[int, float]]:
    return [(c.edits, v) for c in method.checkpoints if (v := getattr(c.summary, measure)) is not None]


def curves(lines: Mapping[str, Sequence[tuple[int, float]]], label: str) -> str:
    """Shares over numbers of edits, a line each."""

    def draw(axes: Axes) -> None:
        for i, (name, points) in enumerate(lines.items()):
            axes.plot(*zip(*points, strict=True) if points else ((), ()), marker="o", label=name, color=_colour(i))
        axes.set_xscale("log")
        axes.set_xlabel("edits")
        _shares(axes, label)

    return figure(draw, 5.0)


def wrong_answers(found: Mapping[str, Mapping[Failure, int]]) -> str:
    """Wrong answers by kind, stacked per method (figure 5)."""

    def draw(axes: Axes) -> None:
        left = [0] * len(found)
        for i, kind in enumerate(Failure):
            counts = [kinds[kind] for kinds in found.values()]
            axes.barh(list(found), counts, left=left, label=kind.value, color=_colour(i))
            left = [a + b for a, b in zip(left, counts, strict=True)]
        axes.invert_yaxis()
        axes.set_xlabel("wrong answers")
        axes.legend(fontsize=8, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        _plain(axes)

    return figure(draw, 7.5, 1.2 + 0.35 * len(found))


def heat_maps(methods: Mapping[str, MethodRun]) -> str:
    """Where each method's first edit changed its most changed module (figure 6)."""
    chosen = {name: max(method.changes, key=lambda c: c.relative) for name, method in methods.items() if method.changes}
    if not chosen:
        return ""
    made = _new(3.4 * len(chosen), 3.3)
    for axes, (name, change) in zip(made.subplots(1, len(chosen), squeeze=False)[0], chosen.items(), strict=True):
        axes.imshow(change.heat, cmap="magma_r", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
        axes.set_title(f"{name}\n{change.module}", fontsize=8)
        axes.set_xlabel("input", fontsize=8)
        axes.set_ylabel("output", fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    return _svg(made)


def vocabulary_hits(methods: Mapping[str, MethodRun]) -> str:
    """Hit@10 and Hit@50 of the target in the changed columns, before and after (figure 7)."""
    chosen = {name: method.hits for name, method in methods.items() if method.hits}
    if not chosen:
        return ""

    def draw(axes: Axes) -> None:
        bars = ("hit_10_before", "hit_10", "hit_50_before", "hit_50")
        for i, bar in enumerate(bars):
            values = [getattr(h, bar) for h in chosen.values()]
            label = bar.replace("hit_", "Hit@").replace("_before", " before")
            axes.bar([x + 0.2 * i for x in range(len(chosen))], values, 0.2, label=label, color=_colour(i))
        axes.set_xticks([x + 0.3 for x in range(len(chosen))], list(chosen))
        _shares(axes, "share of edits")

    return figure(draw, 5.5)


def restored(methods: Mapping[str, MethodRun]) -> str:
    """How far log probabilities moved with the edits, and how far they are after their undo (figure 10)."""
    chosen = {name: method.restoration for name, method in methods.items() if method.restoration}
    if not chosen:
        return ""

    def draw(axes: Axes) -> None:
        places = range(len(chosen))
        axes.bar([x - 0.2 for x in places], [r.moved for r in chosen.values()], 0.4, label="edited", color=_colour(1))
        axes.bar([x + 0.2 for x in places], [r.left for r in chosen.values()], 0.4, label="undone", color=_colour(2))
        axes.set_xticks(list(places), [f"{n}\nundone: {r.left:g}" for n, r in chosen.items()], fontsize=8)
        axes.set_ylabel("greatest change (nats)", fontsize=8)
        axes.legend(fontsize=8, frameon=False)
        _plain(axes)

    return figure(draw, 5.5)


def similarities(origins: Origins) -> str:
    """How much more alike related facts are read than any, by number of blocks (figure 8)."""
    chosen = {"phrasings": origins.phrasings, "chains": origins.chains}

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        for i, (name, found) in enumerate(chosen.items()):
            if found is not None:
                blocks = range(1, len(found.relative) + 1)
                axes.plot(blocks, found.relative, marker="o", label=name, color=_colour(i))
        axes.set_xlabel("blocks")
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


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]


def _shares(axes: Any, label: str) -> None:
    axes.set_ylim(0, 1.05)
    axes.set_ylabel(label, fontsize=8)
    axes.legend(fontsize=8, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _plain(axes)


def _plain(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
