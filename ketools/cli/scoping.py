"""`ketools train-scope`: the head that decides which facts a prompt asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ketools.cli.session import Json, progress, show_json


def train_scope(
    data: Annotated[list[Path], typer.Option(help="Rows in zsRE's, WikiBigEdit's or CounterFact's form; repeatable.")],
    held_out: Annotated[list[Path] | None, typer.Option(help="Files to learn nothing from; repeatable.")] = None,
    out: Annotated[Path, typer.Option(help="Where the head goes.")] = Path("scope.safetensors"),
    epochs: Annotated[int, typer.Option(min=1, max=100, help="How often every pair is seen.")] = 5,
    seed: Annotated[int, typer.Option(help="Draws the pairs and the first weights.")] = 1,
    as_json: Json = False,
) -> None:
    """Train the scope head on rows of data sets and on packaged questions in English and other languages."""
    from ketools.knowledge.scope.minilm import TokenEncoder
    from ketools.knowledge.scope.training import Recipe, Sources, held_out_texts, make_pairs, train, training_rows

    encoder = TokenEncoder(cache_size=1024)
    rows = training_rows(data, held_out_texts(held_out or ()))
    with progress("scope head") as report:
        pairs = make_pairs(rows, encoder, seed)
        head = train(pairs, encoder, Recipe(epochs=epochs, seed=seed), Sources(data, held_out or ()), report)
    head.save(out)
    if as_json:
        show_json({"head": str(out), **head.about})
    else:
        print(f"{out}: trained on {len(pairs)} pairs of {sum(map(len, rows))} rows")
