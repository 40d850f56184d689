"""`ketools bench`: speed and memory, measured on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ketools.cli.errors import Group
from ketools.cli.session import Adapters, EngineName, Json, Urls, VLLMPython, names, progress, session, show_json

bench_app = typer.Typer(cls=Group, help="Benchmarks: speed on this machine.", no_args_is_help=True)


@bench_app.callback()
def bench() -> None:
    """Benchmarks: speed on this machine."""


@bench_app.command("edit")
def bench_edit(
    context: typer.Context,
    n: Annotated[int, typer.Option(min=1, help="Edits per method.")] = 30,
    methods: Annotated[str, typer.Option(help="Comma-separated, of `ketools methods`.")] = "ice,ike,ft-m,rome,r-rome",
    as_json: Json = False,
) -> None:
    """Where the milliseconds of an edit go, per method: compute, verification, journal, swap."""
    from ketools.bench.edit import bench_edit as run

    with progress("bench edit") as report:
        found = run(session(context).settings(), n, names(methods) or (), report)
    if as_json:
        show_json(found)
        return
    print(f"note {found['note_ms']:.1f} ms without verification, n {found['n']}")
    for name, parts in found["methods"].items():
        print(f"{name:8}" + "".join(f"{part.removesuffix('_ms'):>10} {ms:8.1f}" for part, ms in parts.items()))


@bench_app.command("erase")
def bench_erase(
    context: typer.Context,
    n: Annotated[int, typer.Option(min=1, max=500, help="Facts to erase, each alone.")] = 50,
    seed: Annotated[int, typer.Option(help="Chooses the facts.")] = 1,
    method: Annotated[str, typer.Option("--method", "-m", help="Of `ketools methods`, or auto.")] = "auto",
    as_json: Json = False,
) -> None:
    """Erase facts that the model is found to know, and ask for them in many ways: refusals, leaks, what stays."""
    from ketools.bench.erase import bench_erase as run

    with progress("bench erase") as report:
        found = run(session(context).settings(), n, seed, method, report)
    if as_json:
        show_json(found)
        return
    for name, row in found.items():
        print(f"{name:10} {row['value']:.3f} of {row['n']}" if isinstance(row, dict) else f"{name:10} {row}")


@bench_app.command("swap")
def bench_swap(
    context: typer.Context,
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    cycles: Annotated[int, typer.Option(min=1, help="Rounds of edit, undo and redo.")] = 500,
    n: Annotated[int, typer.Option(min=3, help="Timed edits.")] = 40,
    as_json: Json = False,
) -> None:
    """vLLM: from an accepted edit to the first token under it, against a bare adapter load; stale answers."""
    from ketools.bench.serving import bench_swap as run

    options = session(context).but(engine=engine, urls=url, adapters=adapters, vllm_python=vllm_python)
    with progress("bench swap") as report:
        found = run(options.settings(), cycles, n, report)
    if as_json:
        show_json(found)
        return
    print(
        f"edit to first token {found['edit_to_first_token_ms']:.1f} ms, bare load {found['load_to_first_token_ms']:.1f}"
    )
    print(f"ratio {found['ratio']:.2f}, n {found['n']}; stale {found['stale']} of {found['answers']} answers")


@bench_app.command("spaces")
def bench_spaces(
    context: typer.Context,
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    spaces: Annotated[int, typer.Option(min=1, max=100_000, help="How many spaces.")] = 1000,
    facts: Annotated[int, typer.Option(min=1, max=500, help="How many different facts.")] = 40,
    as_json: Json = False,
) -> None:
    """vLLM: many spaces with edits of their own on one replica: right answers, bytes, latency."""
    from ketools.bench.serving import bench_spaces as run

    options = session(context).but(engine=engine, urls=url, adapters=adapters, vllm_python=vllm_python)
    with progress("bench spaces") as report:
        found = run(options.settings(), spaces, facts, report)
    if as_json:
        show_json(found)
        return
    print(f"{found['spaces']} spaces, {found['wrong']} wrong; {found['bytes_on_disk_per_edit']} bytes an edit on disk")
    for count, ms in found["p50_ms_by_spaces"].items():
        print(f"{count:>6} spaces: {ms:.1f} ms")


@bench_app.command("gateway")
def bench_gateway(
    context: typer.Context,
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Pairs of blocks per concurrency.")] = 5,
    tokens: Annotated[int, typer.Option(min=1, max=512, help="Tokens of an answer.")] = 64,
    stream: Annotated[bool, typer.Option(help="Streamed answers, a chunk per token.")] = True,
    as_json: Json = False,
) -> None:
    """vLLM through the gateway against vLLM asked directly: tokens a second and latency."""
    from ketools.bench.gateway import bench_gateway as run

    options = session(context).but(engine=engine, urls=url, adapters=adapters, vllm_python=vllm_python).served()
    with progress("bench gateway") as report:
        found = run(options.settings(), rounds, tokens, stream, progress=report)
    if as_json:
        show_json(found)
        return
    for row in found["concurrency"]:
        added = f"added p50 {row['added_p50_ms']:.2f} ms, p99 {row['added_p99_ms']:.2f} ms"
        print(f"{row['n']:>3} at once: throughput x{row['throughput_ratio']:.3f}, {added}, {row['requests']} requests")


@bench_app.command("abuse")
def bench_abuse(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=5, max=90, help="How long the abuse lasts.")] = 60.0,
    as_json: Json = False,
) -> None:
    """How long a quiet principal's questions take while eight others do their worst; at most two minutes."""
    from ketools.bench.abuse import bench_abuse as run

    with progress("bench abuse") as report:
        found = run(session(context).settings(), abused_s=seconds, progress=report)
    if as_json:
        show_json(found)
        return
    print(f"ask p99 {found['quiet_p99_ms']} ms alone, {found['abused_p99_ms']} ms under abuse: x{found['ratio']}")
    print(f"list p99 {found['list_p99_ms']} ms; stopped in {found['stop_s']} s, {found['hostile']} calls under way")


@bench_app.command("retrieval")
def bench_retrieval(
    context: typer.Context,
    sizes: Annotated[str, typer.Option(help="Comma-separated numbers of notes.")] = "1000,100000,1000000",
    sample: Annotated[int, typer.Option(min=500, help="Facts that the encoder embeds; the rest is composed.")] = 8000,
    as_json: Json = False,
) -> None:
    """How fast, how large and how exact the memory index is, per number of notes."""
    from ketools.bench.retrieval import bench_retrieval as run
    from ketools.service.runtime import open_encoder

    with progress("bench retrieval") as report:
        found = run(open_encoder(session(context).settings()), _numbers(sizes), sample, report)
    if as_json:
        show_json(found)
        return
    for size, row in found.items():
        print(f"{int(size):>10,} notes  " + "  ".join(f"{name} {value}" for name, value in row.items()))


@bench_app.command("scope")
def bench_scope(
    context: typer.Context,
    half: Annotated[str, typer.Option(help="The wordings to use: held-out or tuning.")] = "held-out",
    per_kind: Annotated[int, typer.Option(min=1, max=1000, help="Prompts per kind.")] = 60,
    seed: Annotated[int, typer.Option(help="Chooses the edits and the prompts.")] = 1,
    data: Annotated[str, typer.Option(help="Comma-separated data set files: the learnt scope against rules.")] = "",
    sizes: Annotated[str, typer.Option(help="With --data: how many notes are live.")] = "1,100,1000",
    n: Annotated[
        int | None, typer.Option(min=1, help="With --data: rows of each file to ask about; default all.")
    ] = None,
    head: Annotated[Path | None, typer.Option(help="With --data: a head of ketools train-scope.")] = None,
    as_json: Json = False,
) -> None:
    """How often a note misses its question, and how often it comes without being asked for.

    Over the bundled world; with --data over files of rows instead, by the learnt scope and by the rules.
    """
    from ketools.bench.scope import bench_scope as run
    from ketools.service.runtime import open_encoder

    if half not in ("held-out", "tuning"):
        raise typer.BadParameter("use held-out or tuning", param_hint="--half")
    files = names(data) or ()
    if files and not any(_is_multihop(file) for file in files):
        _bench_scope_rows(context, files, _numbers(sizes), n, seed, head, as_json)
        return
    with progress("bench scope") as report:
        chosen: Any = half
        found = run(open_encoder(session(context).settings()), chosen, per_kind, seed, files, report)
    if as_json:
        show_json(found)
        return
    for name, part in {"bundled world": found, **found.get("files", {})}.items():
        for group, rate in (("paraphrases", "missed"), ("others", "injected")):
            print(f"{name}: {group} {rate} {part[group][rate]:.3f} of {part[group]['n']}")
            for kind, row in part[group]["kinds"].items():
                print(f"  {kind:22} {row[rate]:6.3f} of {row['n']}")


def _is_multihop(file: str) -> bool:
    from ketools.evaluation.data import read_rows

    path = Path(file)
    rows = read_rows(path) if path.is_file() else []
    return bool(rows) and isinstance(rows[0].get("requested_rewrite"), list)


def _bench_scope_rows(
    context: typer.Context,
    files: Sequence[str],
    sizes: Sequence[int],
    n: int | None,
    seed: int,
    head: Path | None,
    as_json: bool,
) -> None:
    from ketools.bench.scope_rows import bench_rows
    from ketools.knowledge.scope import Scope
    from ketools.knowledge.scope.head import PACKAGED, ScopeHead
    from ketools.service.runtime import open_encoder

    encoder, chosen = open_encoder(session(context).settings()), head or PACKAGED
    scope = Scope(ScopeHead.load(chosen)) if head or PACKAGED.is_file() else None
    with progress("bench scope") as report:
        found = {Path(file).name: bench_rows(file, encoder, scope, sizes, n, seed, report) for file in files}
    if as_json:
        show_json(found)
        return
    for name, part in found.items():
        for decider in (one for one in ("learnt", "rules") if one in part):
            for size, row in part[decider].items():
                rates = ", ".join(f"{k} {v['share']:.3f} of {v['n']}" for k, v in row.items() if isinstance(v, dict))
                print(f"{name}: {decider}, {size} live: {rates}; {row['ms']:.0f} ms a question")


def _numbers(text: str, option: str = "--sizes") -> list[int]:
    """Comma-separated numbers. Raises BadParameter for anything else."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and 1 <= int(part) <= 10_000_000 for part in parts):
        raise typer.BadParameter("numbers between 1 and 10000000, separated by commas", param_hint=option)
    return [int(part) for part in parts]


@bench_app.command("exactness")
def bench_exactness(
    context: typer.Context,
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    as_json: Json = False,
) -> None:
    """vLLM: the largest difference of a log probability from transformers in float64, per kind of change."""
    from ketools.bench.serving import bench_exactness as run

    options = session(context).but(engine=engine, urls=url, adapters=adapters, vllm_python=vllm_python)
    with progress("bench exactness") as report:
        found = run(options.settings(), progress=report)
    if as_json:
        show_json(found)
        return
    for kind, error in found["by_kind"].items():
        print(f"{kind:20} {error:.1e}")


@bench_app.command("evaluate")
def bench_evaluate(
    context: typer.Context,
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    n: Annotated[int, typer.Option(min=64, max=4096, help="Probes.")] = 256,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="How often each batch size is timed.")] = 3,
    as_json: Json = False,
) -> None:
    """Probes scored per second in batches of 1, 8 and 64."""
    from ketools.bench.evaluate import bench_evaluate as run

    options = session(context).but(engine=engine, urls=url, adapters=adapters, vllm_python=vllm_python)
    with progress("bench evaluate") as report:
        found = run(options.settings(), n, rounds, report)
    if as_json:
        show_json(found)
        return
    for size, rate in found["probes_per_second"].items():
        print(f"batches of {size:>2}: {rate:8.1f} probes/s")
    print(f"speed-up x{found['speedup_batch_64']:.1f} at 64, n {found['n']}")


@bench_app.command("methods")
def bench_methods(
    context: typer.Context,
    methods: Annotated[str, typer.Option(help="Comma-separated names; default all that compute with the model.")] = "",
    sizes: Annotated[str, typer.Option(help="Comma-separated sizes of batches.")] = "1,10,100,1000",
    budget: Annotated[float, typer.Option(min=1, help="Seconds that a batch may take, or be left out.")] = 300,
    as_json: Json = False,
) -> None:
    """Milliseconds and memory of an edit, alone and in batches, per method."""
    from ketools.bench.methods import bench_methods as run

    with progress("bench methods") as report:
        found = run(session(context).settings(), names(methods) or (), _numbers(sizes), budget, report)
    if as_json:
        show_json(found)
        return
    for name, rows in found["methods"].items():
        for size, row in rows.items():
            peak = "unknown" if row["peak_mb"] is None else f"{row['peak_mb']:7.1f} MB"
            print(f"{name:10}{size:>6} at once: {row['ms_per_edit']:9.1f} ms an edit, peak {peak}")
    for name, sizes_left in found["left_out"].items():
        print(f"{name}: left out " + ", ".join(f"{size} ({why})" for size, why in sizes_left.items()))


@bench_app.command("batch")
def bench_batch(
    context: typer.Context,
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    methods: Annotated[str, typer.Option(help="Comma-separated names.")] = "memit,alphaedit,ultraedit",
    n: Annotated[int, typer.Option(min=1, help="Facts that are edited in one call.")] = 1000,
    as_json: Json = False,
) -> None:
    """Many facts in one call of a method, every one asked of the engine that serves."""
    from ketools.bench.batch import bench_batch as run

    options = session(context).but(engine=engine, urls=url, adapters=adapters, vllm_python=vllm_python)
    with progress("bench batch") as report:
        found = run(options.settings(), names(methods) or (), n, report)
    if as_json:
        show_json(found)
        return
    for name, row in found["methods"].items():
        print(
            f"{name:10} success {row['success']:.3f}, rephrase {row['rephrase']:.3f} (n {row['n']}), "
            f"locality {row['locality']:.3f} (n {row['locality_n']}), {row['ms_per_edit']:.0f} ms an edit"
        )


@bench_app.command("ability")
def bench_ability(
    context: typer.Context,
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    methods: Annotated[str, typer.Option(help="Comma-separated names.")] = "ice,ft-m,rome,memit,lora",
    data: Annotated[str, typer.Option(help="A bundled data set, or a file: its first cases are edited.")] = (
        "atlas-knowedit/wiki_recent"
    ),
    edits: Annotated[int, typer.Option(min=1, help="Edits, one on top of the other.")] = 5,
    tasks: Annotated[
        Path | None, typer.Option(help="Task files of lm-evaluation-harness; default tasks over the bundled world.")
    ] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Documents of each task; default all.")] = None,
    as_json: Json = False,
) -> None:
    """What a few edits cost a model in tasks that have nothing to do with them, per method."""
    from ketools.cli.offline import go_offline

    options = session(context).but(engine=engine, urls=url, adapters=adapters, vllm_python=vllm_python)
    go_offline(options.settings().home)
    from ketools.bench.ability import bench_ability as run

    with progress("bench ability") as report:
        found = run(options.settings(), names(methods) or (), data, edits, tasks, n, report)
    if as_json:
        show_json(found)
        return
    print(f"{'task':32}{'n':>5}{'base':>8}" + "".join(f"{name:>10}" for name in found["methods"]))
    for task, row in found["base"].items():
        after = [method["tasks"][task]["value"] for method in found["methods"].values()]
        print(f"{task:32}{row['n']:5}{row['value']:8.3f}" + "".join(f"{value:10.3f}" for value in after))
    kept = "".join(f"{method['success']:10.3f}" for method in found["methods"].values())
    print(f"{'edits that hold':32}{found['edits']:5}{'':8}{kept}")


@bench_app.command("lifelong")
def bench_lifelong(
    context: typer.Context,
    methods: Annotated[str, typer.Option(help="Comma-separated names.")] = (
        "ice,ft-m,rome,memit,alphaedit,ultraedit,melo,rase"
    ),
    checkpoints: Annotated[str, typer.Option(help="After how many edits everything is asked.")] = "1,10,100,1000,3000",
    budget: Annotated[float, typer.Option(min=1, help="Seconds that a method may take; then it is stopped.")] = 900,
    svg: Annotated[Path | None, typer.Option(help="Draw the curves of success to this file.")] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Keep in the profile how many edits each holds; `auto` goes by it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Edits one after another: what holds, and what undoing a random half of them leaves."""
    from ketools.bench.lifelong import bench_lifelong as run
    from ketools.bench.lifelong import plot

    stops = _numbers(checkpoints, "--checkpoints")
    with progress("bench lifelong") as report:
        found = run(session(context).settings(), names(methods) or (), stops, budget, report, store=store)
    if svg is not None:
        svg.write_text(plot(found), encoding="utf-8")
    if as_json:
        show_json(found)
        return
    for name, rows in found["methods"].items():
        for edits, row in rows.items():
            if edits.isdigit():
                shares = f"success {row['success']:.3f}, rephrase {row['rephrase']:.3f}, locality {row['locality']:.3f}"
                print(f"{name:10}{edits:>6} edits: {shares}, {row['ms_per_edit']:.0f} ms an edit")
        half = rows["undo_half"]
        print(f"{name:10} half undone: restored {half['restored']:.3f}, others still right {half['success']:.3f}")


@bench_app.command("start")
def bench_start(
    context: typer.Context,
    n: Annotated[int, typer.Option(min=1, max=100, help="Starts; the least of each is told.")] = 3,
    as_json: Json = False,
) -> None:
    """What a start costs, in CPU seconds: `--help`, `list`, and an MCP server up to its list of tools."""
    from ketools.bench.start import bench_start as run

    with progress("bench start") as report:
        found = run(session(context).settings(), n, report)
    if as_json:
        show_json(found)
        return
    print(f"help {found['help_s']:.2f} s, list {found['list_s']:.2f} s and {found['list_mb']:.0f} MB")
    print(f"tools/list {found['tools_list_s']:.2f} s")
