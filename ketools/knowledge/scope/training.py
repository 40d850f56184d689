"""Trains the scope head: rows of data sets and packaged askings become pairs, and the reader learns to tell them."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ketools.core.errors import InvalidRequest
from ketools.core.names import canonical
from ketools.core.progress import Progress, quiet
from ketools.knowledge.scope.facts import Asking
from ketools.knowledge.scope.head import ScopeHead, item_of
from ketools.knowledge.scope.minilm import Read, TokenEncoder
from ketools.knowledge.scope.pairs import Maker, Pair
from ketools.knowledge.scope.reader import Item, Reader, collate
from ketools.knowledge.scope.rows import SLOT, Row, askings, blanked, names_of, open_rows, read_rows, texts_of, without

BATCH = 64
LEARNING_RATE = 1.5e-3
OPEN_REPEATS, ENGLISH_REPEATS, OTHER_REPEATS = 4, 2, 6
"""How often packaged rows and phrasings are drawn anew."""

MOST_OF_A_KIND = 3000
MOST = {"styled": 6000, "same subject": 8000, "near miss": 5500, "typeset": 2500, "slip": 2000, "other fact": 1500}
MOST |= {"locality": 3500, "rival": 10000, "asking": 8000, "same relation": 4500, "rephrase": 9000}
"""How many pairs of each kind are learnt from."""


@dataclass(frozen=True)
class Recipe:
    """How to train. The same recipe on the same files gives the same head on the same machine."""

    epochs: int = 5
    width: int = 80
    layers: int = 2
    seed: int = 1


def held_out_texts(files: Iterable[Path]) -> frozenset[str]:
    """Every subject, prompt and question of files that nothing may be learnt from, in canonical form."""
    return frozenset(canonical(text) for path in files for row in read_rows(path) for text in texts_of(row))


def training_rows(files: Sequence[Path], held_out: frozenset[str]) -> list[list[Row]]:
    """The rows of each file, then the packaged open ones, without what is held out."""
    sources = [without(read_rows(path), held_out) for path in files]
    if sum(map(len, sources)) < 100:
        raise InvalidRequest("Training takes at least 100 rows that are not held out; give more files.")
    return [*sources, without(open_rows(), held_out)]


def make_pairs(sources: Sequence[Sequence[Row]], encoder: TokenEncoder, seed: int = 1) -> list[Pair]:
    """Pairs of all sources (the last are the open rows) and of the packaged askings, capped by kind and shuffled."""
    rng = random.Random(seed)
    maker = Maker(_Cosines(encoder, sources), rng)
    pairs = [pair for rows in sources[:-1] for pair in maker.of_rows(rows)]
    pairs += [pair for _ in range(OPEN_REPEATS) for pair in maker.of_rows(sources[-1])]
    pairs += _of_askings(maker, [row.subject for rows in sources[:-1] for row in rows])
    rng.shuffle(pairs)
    return list(_capped(pairs))


def _of_askings(maker: Maker, names: Sequence[str]) -> Iterator[Pair]:
    groups = defaultdict(list)
    for asking in askings():
        groups[asking.language, "" if asking.language == "en" else asking.kind].append(asking)
    for (language, kind), group in groups.items():
        if language == "en":
            yield from maker.of_askings(group, names, ENGLISH_REPEATS)
        else:
            yield from maker.of_askings(group, names_of()[language, kind], OTHER_REPEATS)


def _capped(pairs: Iterable[Pair]) -> Iterator[Pair]:
    seen: Counter[str] = Counter()
    for pair in pairs:
        seen[pair.kind] += 1
        if seen[pair.kind] <= MOST.get(pair.kind, MOST_OF_A_KIND):
            yield pair


class _Cosines:
    """Cosines of texts, `SLOT` read as 'someone'; those of the rows are embedded together."""

    def __init__(self, encoder: TokenEncoder, sources: Sequence[Sequence[Row]]) -> None:
        self._encoder = encoder
        self._kept: dict[str, Tensor] = {}
        rows = [row for source in sources for row in source]
        told = [blanked(text, row.subject) for row in rows for text in (row.prompt, *row.rephrases)]
        self._add([*(text for text in told if text), *(row.prompt for row in rows)])

    def __call__(self, a: str, b: str) -> float:
        self._add([text for text in (a, b) if text not in self._kept])
        return float(self._kept[a] @ self._kept[b])

    def _add(self, texts: Sequence[str]) -> None:
        read = self._encoder.read([text.replace(SLOT, "someone") for text in texts]) if texts else []
        self._kept |= {text: one.sentence for text, one in zip(texts, read, strict=True)}


@dataclass(frozen=True)
class Sources:
    """The files that pairs were made from, and those that nothing was learnt from."""

    files: Sequence[Path] = ()
    held_out: Sequence[Path] = ()

    def hashes(self) -> dict[str, dict[str, str]]:
        """Names with SHA-256."""
        return {"files": _hashes(self.files), "held_out": _hashes(self.held_out)}


def _hashes(files: Iterable[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def train(
    pairs: Sequence[Pair],
    encoder: TokenEncoder,
    recipe: Recipe,
    sources: Sources = Sources(),
    progress: Progress = quiet,
) -> ScopeHead:
    """A head trained on pairs. `sources`: kept in `ScopeHead.about`."""
    items = _items(pairs, encoder, progress)
    wanted = torch.tensor([float(pair.in_scope) for pair in pairs])
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        reader = Reader(recipe.width, recipe.layers)
        _fit(reader, items, wanted, recipe, progress)
    about = {
        "width": recipe.width,
        "layers": recipe.layers,
        "epochs": recipe.epochs,
        "seed": recipe.seed,
        "pairs": len(pairs),
        **sources.hashes(),
    }
    return ScopeHead(reader.eval(), encoder, about)


def _items(pairs: Sequence[Pair], encoder: TokenEncoder, progress: Progress) -> list[Item]:
    """The pairs as the reader takes them; hidden states in half precision, since they are many."""
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.prompt, pair.question)))
    read: dict[str, Read] = {}
    for start in range(0, len(texts), 512):
        progress(start, len(texts), "reading")
        part = texts[start : start + 512]
        for text, one in zip(part, encoder.read(part), strict=True):
            read[text] = Read(one.hidden.half(), one.offsets, one.sentence)
    return [item_of(Asking(p.subject, p.prompt, p.question), read[p.prompt], read[p.question]) for p in pairs]


def _fit(reader: Reader, items: Sequence[Item], wanted: Tensor, recipe: Recipe, progress: Progress) -> None:
    rng = random.Random(recipe.seed)
    steps = recipe.epochs * (len(items) // BATCH + 2)
    optimiser = torch.optim.AdamW(reader.parameters(), LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    reader.train()
    done = 0
    for _ in range(recipe.epochs):
        for batch in _batches(items, rng):
            progress(done, steps, "training")
            logits = reader(collate([items[i] for i in batch]))
            loss = binary_cross_entropy_with_logits(logits, wanted[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done += 1


def _batches(items: Sequence[Item], rng: random.Random) -> list[list[int]]:
    """All pairs once in random order, those of about the same length together so that little is padded."""
    order = rng.sample(range(len(items)), len(items))
    found = []
    for start in range(0, len(order), BATCH * 50):
        part = sorted(order[start : start + BATCH * 50], key=lambda i: len(items[i].fact) + len(items[i].asked))
        found += [part[i : i + BATCH] for i in range(0, len(part), BATCH)]
    rng.shuffle(found)
    return found
