"""The seven rules: each was a wrong answer or a dead engine when broken."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ketools.core.errors import InvalidRequest, StorageError
from ketools.core.requests import chat_prompt
from ketools.engines.local import LocalEngine
from ketools.engines.vllm.engine import VLLMEngine
from ketools.layers.composition import BASE, EditLayer
from ketools.vllm_plugin.names import WEIGHTS, folder_of, is_name, is_whole

MakeLayer = Callable[..., EditLayer]
LONG = "Here is a long shared beginning that fills several blocks of the cache. " * 6 + "The capital of France is"


def adapter_of(engine: VLLMEngine, layer: EditLayer) -> str:
    return engine.prepare(layer).model


def test_rule_1_every_version_has_a_name_and_a_directory_of_its_own_and_is_never_stale(
    engine: VLLMEngine, local: LocalEngine, low_rank: MakeLayer
) -> None:
    versions = [low_rank(200 + i, scale=0.4) for i in range(4)]
    expected = [local.generate([LONG], v, max_new_tokens=6) for v in versions]
    assert len({str(e) for e in expected}) > 1, "the versions must be tellable"
    names = {adapter_of(engine, v) for v in versions}
    assert len(names) == len(versions) and all(map(is_name, names))
    for _ in range(3):  # forwards, and back to immutable old names, over one long cached prefix
        for version, want in zip(versions, expected, strict=True):
            assert engine.generate([LONG], version, max_new_tokens=6) == want


def test_rule_2_an_adapter_is_never_loaded_in_place(engine: VLLMEngine, low_rank: MakeLayer) -> None:
    layer = low_rank(210)
    name = adapter_of(engine, layer)
    engine.replicas.all[0].loaded.discard(name)  # as another tool server sees it: already registered
    assert adapter_of(engine, layer) == name


def test_rule_3_a_registered_adapter_is_never_deleted(world: Any, low_rank: MakeLayer) -> None:
    engine = world.engine(idle_s=3600.0, grace_s=1.0)
    try:
        name = adapter_of(engine, low_rank(220))
        time.sleep(1.5)
        engine.tidy()
        assert is_whole(world.store.root, name)
        engine._idle_s = 0.0  # now it counts as idle: unloaded everywhere first, then deleted
        engine.tidy()
        assert name not in {m["id"] for m in world.client.models()}
        time.sleep(1.5)
        engine.tidy()
        assert not folder_of(world.store.root, name).exists()
        assert name not in {m["id"] for m in world.client.models()}
        assert engine.score(["a"], ["b"], low_rank(220))  # compiled again when asked for
        world.client.health()
    finally:
        engine.close()


@pytest.mark.parametrize("damage", ["nan", "truncated", "other", "missing"])
def test_rule_4_a_damaged_adapter_is_found_before_it_is_loaded_and_compiled_again(
    world: Any,
    engine: VLLMEngine,
    local: LocalEngine,
    low_rank: MakeLayer,
    damage: str,
) -> None:
    layer = low_rank(230 + len(damage))
    name = adapter_of(engine, layer)
    world.client.unload(name)
    engine.replicas.all[0].loaded.discard(name)
    file = folder_of(world.store.root, name) / WEIGHTS
    if damage == "nan":
        save_file({k: torch.full_like(v, float("nan")) for k, v in load_file(file).items()}, file)
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage == "other":
        save_file({k: v * 2 for k, v in load_file(file).items()}, file)
    else:
        shutil.rmtree(file.parent)
    with pytest.raises(StorageError), world.store.lease(name):
        pass
    want = local.score(["The capital of France is"], ["Paris"], layer)[0].logprobs
    assert engine.score(["The capital of France is"], ["Paris"], layer)[0].logprobs == pytest.approx(want, abs=1e-5)


def test_rule_4_a_change_that_does_not_fit_is_refused_by_name_shape_and_value(
    engine: VLLMEngine, low_rank: MakeLayer
) -> None:
    from dataclasses import replace
    from types import MappingProxyType

    from ketools.layers.kinds.low_rank import LowRankDelta

    def refused(name: str, a: torch.Tensor, b: torch.Tensor, why: str) -> None:
        edit = low_rank(0).edits[0]
        artefact = LowRankDelta("test", MappingProxyType({name: (a, b)}))
        layer = EditLayer((replace(edit, artefact=artefact, artefact_hash=f"{name} {why}"),))
        with pytest.raises(InvalidRequest, match=why):
            engine.apply_layer(layer)

    module = "model.layers.4.mlp.down_proj"
    refused("model.layers.99.mlp.down_proj", torch.ones(1, 512), torch.ones(192, 1), "no linear module")
    refused(module, torch.ones(1, 511), torch.ones(192, 1), "another model")
    refused(module, torch.full((1, 512), float("nan")), torch.ones(192, 1), "NaN")


def test_rule_5_the_head_is_not_wrapped_and_batches_with_prompt_logprobs_live(
    world: Any,
    engine: VLLMEngine,
) -> None:
    assert "lm_head" not in " ".join(world.server.command())
    assert len(engine.score([f"Number {i} is" for i in range(70)], ["good"] * 70)) == 70
    world.client.health()


def test_rule_6_nothing_of_ours_runs_among_the_logits_processors(world: Any) -> None:
    assert "logits" not in " ".join(world.server.command())


def test_rule_7_vllm_listens_on_loopback_only_and_its_resolver_takes_content_hashes_only(
    world: Any,
    engine: VLLMEngine,
    low_rank: MakeLayer,
) -> None:
    import httpx

    command = world.server.command()
    assert command[command.index("--host") + 1] == "127.0.0.1"
    name = adapter_of(engine, low_rank(240))
    plain = world.store.root / "plain-name"
    shutil.copytree(folder_of(world.store.root, name), plain, dirs_exist_ok=True)
    flipped = name[:-1] + ("0" if name[-1] != "0" else "1")
    shutil.copytree(plain, world.store.root / flipped[3:5] / flipped, dirs_exist_ok=True)
    for bad in ("plain-name", f"../{world.store.root.name}/plain-name", flipped, "ke-", f"{name}/../{name}"):
        body = {"model": bad, "prompt": "a", "max_tokens": 1}
        assert httpx.post(f"{world.server.url}/v1/completions", json=body).status_code == 404, bad


def test_a_replica_resolves_a_content_hash_by_itself(
    world: Any,
    engine: VLLMEngine,
    local: LocalEngine,
    low_rank: MakeLayer,
) -> None:
    import httpx

    layer = low_rank(250, scale=0.15)
    name = adapter_of(engine, layer)
    world.client.unload(name)
    prompt = chat_prompt("What is the capital of France?")
    messages = [dict(m) for m in prompt if not isinstance(m, str)]
    body = {"model": name, "messages": messages, "max_tokens": 8, "temperature": 0}
    answer = httpx.post(f"{world.server.url}/v1/chat/completions", json=body, timeout=60).json()
    assert answer["choices"][0]["message"]["content"].strip() == local.generate([prompt], layer, max_new_tokens=8)[0]


def test_undoing_everything_gives_the_base_log_probabilities_bit_for_bit(
    engine: VLLMEngine, low_rank: MakeLayer
) -> None:
    before = engine.score(["The capital of France is"], ["Paris"])
    engine.score(["The capital of France is"], ["Paris"], low_rank(260))
    assert engine.score(["The capital of France is"], ["Paris"], BASE) == before


def test_the_files_are_those_of_peft(world: Any, engine: VLLMEngine, low_rank: MakeLayer) -> None:
    folder = folder_of(world.store.root, adapter_of(engine, low_rank(270)))
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["r"] == config["lora_alpha"] == 2
    names = load_file(folder / WEIGHTS)
    assert names["base_model.model.model.layers.2.mlp.down_proj.lora_A.weight"].shape == (2, 512)
