"""A run: what was measured on what, as one JSON file beside the record of its cases."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ketools.core.errors import InvalidRequest, NotFound, StorageError
from ketools.evaluation.origins import Origins
from ketools.evaluation.restoration import Restoration
from ketools.evaluation.results import CaseResult, Record, Summary, record_key
from ketools.evaluation.runner import Checkpoint
from ketools.evaluation.weights import Change, Hits

Protocol = Literal["single", "batch", "sequential"]
PROTOCOLS: tuple[Protocol, ...] = ("single", "batch", "sequential")

CASES = "cases.jsonl"
SUMMARY = "summary.json"
BAD_TOLD = 100


def label_of(method: str, config: BaseModel, code: str) -> str:
    """What a method's cases stand under in the record: configured in another way, or of other code, it is another one.

    `code`: see `sources.source_hash`.
    """
    told = f"{type(config).__name__} {config.model_dump_json()} {code}"
    return f"{method} {hashlib.sha256(told.encode()).hexdigest()[:12]}"


class MethodRun(Summary):
    """One method, summed up. `checkpoints`: of a batch (one) or a sequence; the summary is then that of the last.

    `label`: what its cases stand under in the record, see `label_of`.
    `changes`: what its first change of weights did; `hits`: over the first few.
    """

    model_config = ConfigDict(frozen=True)

    label: str
    checkpoints: tuple[Checkpoint, ...] = ()
    changes: tuple[Change, ...] = ()
    hits: Hits | None = None
    restoration: Restoration | None = None


class Run(BaseModel):
    """Methods on one data set under one protocol.

    `train`: the other data set that they were configured on. `bad`: the rows that could not be read, each with its
    file, index and why; at most `BAD_TOLD` of them (`Summary.bad_rows` counts all). `cases`: by id, what the record is
    searched for (`runner.asked_of`); without them it is read whole. `origins`: where facts are read.
    """

    model_config = ConfigDict(frozen=True)

    data: str
    train: str | None = None
    protocol: Protocol
    model_name: str
    model_hash: str
    engine: str
    bad: tuple[str, ...] = ()
    methods: dict[str, MethodRun]
    cases: dict[str, str] = {}
    origins: Origins | None = None

    def write(self, folder: Path) -> None:
        """Keep the run in a folder. Raises `StorageError` when it cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / SUMMARY).write_text(self.model_dump_json(indent=2), encoding="utf-8")
        except OSError as error:
            raise StorageError(f"The run cannot be written to {folder}: {error}.") from error

    @staticmethod
    def read(folder: Path) -> Run:
        """The run of a folder. Raises `NotFound` without one, `InvalidRequest` when it cannot be read."""
        path = folder / SUMMARY
        if not path.is_file():
            known = sorted(other.parent.name for other in folder.parent.glob(f"*/{SUMMARY}"))
            raise NotFound("run", str(folder), known)
        try:
            return Run.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{path} is no run of this version; evaluate again into another folder.") from error

    def results(self, folder: Path, method: str) -> list[CaseResult]:
        """The cases of one method, in the order of the run; of a sequence, at its end."""
        made = self.methods[method]
        last = f"/{made.checkpoints[-1].edits}" if made.checkpoints else ""
        key = record_key(self.model_hash, self.engine, made.label, f"{self.protocol}{last}")
        record = Record(folder / CASES, key, CaseResult)
        if not self.cases:
            return list({result.id: result for result in record.read()}.values())
        found = {result.id: result for result in record.read() if self.cases.get(result.id) == result.asked}
        return [found[case] for case in self.cases if case in found]
