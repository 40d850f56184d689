"""The editor and the local engine in bf16 and on a GPU: artefacts stay fp32, and a device finds what the CPU finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ketools.core.errors import ModelError
from ketools.core.requests import EditRequest, Kind
from ketools.editing.editor import Editor
from ketools.engines.local import LocalEngine
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.dense import DenseDelta
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.layers.store import content_hash
from ketools.methods import fine_tuning
from ketools.models.background import Background
from ketools.models.loading import load_editable
from ketools.service.opening import open_service
from ketools.service.settings import Settings

FRANCE = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon", kind=Kind.MODIFY)
TEXT = "Paris is the capital of France. The river runs through the town. " * 20
METHODS = ("lora", "adalora", "ft-l", "melo", "memit", "alphaedit", "ultraedit", "rome", "kn")
FREE: dict[str, dict[str, Any]] = {"ft-l": {"lr": 1e-3, "preservation": 0.0, "linf": 0.5}}


def edited(folder: Path, method: str, device: str, dtype: torch.dtype) -> tuple[Editor, LocalEngine, EditLayer]:
    em = load_editable(folder, device, dtype)
    editor = Editor(em, background=Background("test", lambda: (TEXT,)))
    (made,) = editor.compute(method, [FRANCE], BASE, FREE.get(method))
    return editor, LocalEngine(em), EditLayer((LiveEdit("edit", content_hash(made), made),))


@pytest.mark.parametrize("method", METHODS)
def test_in_bf16_a_method_makes_fp32_artefacts_that_the_engine_serves(tiny_llama_dir: Path, method: str) -> None:
    _, engine, layer = edited(tiny_llama_dir, method, "cpu", torch.bfloat16)
    tensors = layer.edits[0].artefact.tensors()
    assert tensors and all(tensor.dtype == torch.float32 for tensor in tensors.values())
    engine.apply_layer(layer)
    before, after = (engine.score([FRANCE.prompt], [" Lyon"], one)[0].total for one in (BASE, layer))
    assert after != before and engine.generate([FRANCE.prompt], layer, max_new_tokens=2)
    assert engine.score([FRANCE.prompt], [" Lyon"], BASE)[0].total == before, "the weights are as they were"
    if method in ("lora", "adalora", "ultraedit"):
        assert after > before + 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_finds_what_the_cpu_finds(tiny_llama_dir: Path, method: str) -> None:
    scores = []
    for device in ("cpu", "cuda"):
        _, engine, layer = edited(tiny_llama_dir, method, device, torch.float32)
        engine.apply_layer(layer)
        assert all(delta.finite for delta in layer.deltas_on(engine.editable.device).values())
        scores.append(engine.score([FRANCE.prompt], [" Lyon"], layer)[0].total)
    assert scores[0] == pytest.approx(scores[1], abs=0.5)


def test_a_service_runs_in_the_precision_that_its_settings_name(tiny_llama_dir: Path, tmp_path: Path) -> None:
    settings = Settings(model=tiny_llama_dir, home=tmp_path, dtype="bfloat16")
    service = open_service(settings)
    try:
        with service.runtime.editor.model() as em:
            assert em.model.dtype == torch.bfloat16
        assert service.runtime.engine.generate([FRANCE.prompt], BASE, max_new_tokens=2)
    finally:
        service.close()
    assert settings.measured_on == "local-bfloat16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named_in_the_error(tiny_llama_dir: Path) -> None:
    with pytest.raises(ModelError, match="no CUDA device"):
        load_editable(tiny_llama_dir, "cuda")


@pytest.mark.parametrize("given", [{"device": "gpu"}, {"dtype": "int8"}])
def test_other_devices_and_precisions_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        Settings.model_validate(given)


def test_a_large_dense_change_is_stored_as_factors_with_its_residual_told(
    tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, whole = edited(tiny_llama_dir, "ft-m", "cpu", torch.float32)
    monkeypatch.setattr(fine_tuning, "MOST_DENSE", 0)
    monkeypatch.setattr(fine_tuning, "BOUND", 2)
    _, _, bounded = edited(tiny_llama_dir, "ft-m", "cpu", torch.float32)
    dense, factors = whole.edits[0].artefact, bounded.edits[0].artefact
    assert isinstance(dense, DenseDelta) and isinstance(factors, LowRankDelta)
    ((name, (a, _)),) = factors.factors.items()
    assert len(a) == 2
    lost = (dense.deltas[name] - bounded.deltas[name].matrix()).square().sum() / dense.deltas[name].square().sum()
    assert float(lost) == pytest.approx(float(factors.metadata["residual_energy"]), abs=1e-4)
