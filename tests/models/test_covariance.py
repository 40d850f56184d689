"""The covariance of a module's inputs, its cache and the rank-one solve."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ketools.core.errors import Cancelled, InvalidRequest
from ketools.core.requests import Prompt, chat_prompt
from ketools.layers.composition import BASE, LiveEdit
from ketools.layers.kinds.dense import DenseDelta
from ketools.models.background import Background, background_from_file, packaged_background
from ketools.models.covariance import (
    CovarianceStore,
    covariances,
    covariances_at_ends,
)
from ketools.models.editable import EditableModel
from ketools.models.structure import get_module
from ketools.models.text import encode_prompt

TEXTS = ("The capital of France is Paris.", "Alice works for Acme and Bob was born in Berlin.", "Who?")


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


def module_of(em: EditableModel) -> str:
    return em.structure.blocks[1].down_proj


def background(*texts: str) -> Background:
    return Background(source="test", texts=lambda: texts)


def direct_covariance(em: EditableModel, module: str) -> torch.Tensor:
    """E[k k^T] from one unpadded forward pass per text, in float64."""
    keys: list[torch.Tensor] = []
    handle = get_module(em.model, module).register_forward_hook(lambda m, args, out: keys.append(args[0][0]))
    with torch.no_grad():
        for text in TEXTS:
            em.model(input_ids=torch.tensor([em.tokenizer(text)["input_ids"]]))
    handle.remove()
    k = torch.cat(keys).double()
    return k.T @ k / len(k)


def test_the_streamed_covariance_equals_a_direct_computation(em: EditableModel) -> None:
    streamed = covariances(em, [module_of(em)], TEXTS)[module_of(em)]
    torch.testing.assert_close(streamed, direct_covariance(em, module_of(em)), rtol=1e-5, atol=1e-7)


def test_a_stored_covariance_is_read_instead_of_computed(em: EditableModel, tmp_path: Path) -> None:
    first = CovarianceStore(background(*TEXTS), tmp_path).covariance(em, module_of(em))

    def no_texts() -> tuple[str, ...]:
        raise AssertionError("the cache was not used")

    again = CovarianceStore(Background(source="test", texts=no_texts), tmp_path)
    assert torch.equal(first, again.covariance(em, module_of(em)))


def test_a_damaged_cache_file_is_computed_again(em: EditableModel, tmp_path: Path) -> None:
    first = CovarianceStore(background(*TEXTS), tmp_path).covariance(em, module_of(em))
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(b"broken")
    assert torch.equal(first, CovarianceStore(background(*TEXTS), tmp_path).covariance(em, module_of(em)))


def test_the_cache_tells_models_modules_and_texts_apart(em: EditableModel, tmp_path: Path) -> None:
    CovarianceStore(background(*TEXTS), tmp_path).covariance(em, module_of(em))
    CovarianceStore(background(*TEXTS), tmp_path).covariance(em, em.structure.blocks[0].down_proj)
    CovarianceStore(Background("other", lambda: TEXTS), tmp_path).covariance(em, module_of(em))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_cancelled_covariance_stores_nothing(em: EditableModel, tmp_path: Path) -> None:
    def cancel(done: int, total: int, message: str) -> None:
        raise Cancelled("stopped by the caller")

    with pytest.raises(Cancelled):
        CovarianceStore(background(*TEXTS), tmp_path).covariance(em, module_of(em), cancel)
    assert not list(tmp_path.rglob("*.*"))


def test_a_covariance_without_text_is_refused(em: EditableModel) -> None:
    with pytest.raises(InvalidRequest, match="no text"):
        covariances(em, [module_of(em)], [])


def test_a_background_file_is_read_by_paragraphs(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("One paragraph\nof two lines.\n\n\nAnother.\n")
    assert list(background_from_file(file).texts()) == ["One paragraph\nof two lines.", "Another."]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\xfa"])
def test_an_unusable_background_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"text\.txt"):
        background_from_file(file)


def test_the_packaged_text_is_varied_and_of_a_few_thousand_tokens() -> None:
    paragraphs = list(packaged_background().texts())
    assert 50 <= len(paragraphs) == len(set(paragraphs))
    assert 3_000 <= sum(len(paragraph.split()) for paragraph in paragraphs) <= 6_000
    scripts = ("CJK", "HIRAGANA", "ARABIC", "DEVANAGARI", "CYRILLIC", "THAI", "LATIN")
    letters = {unicodedata.name(c, "").split()[0] for paragraph in paragraphs for c in paragraph if c.isalpha()}
    assert all(script in letters for script in scripts)


def test_the_model_runs_no_further_than_the_covariance_needs(em: EditableModel) -> None:
    ran: list[str] = []
    for block in em.structure.blocks:
        get_module(em.model, block.name).register_forward_hook(lambda m, a, o, name=block.name: ran.append(name))
    covariances(em, [em.structure.blocks[0].down_proj], TEXTS)
    assert ran == [em.structure.blocks[0].name]


def test_a_covariance_is_of_the_base_model_whatever_layer_is_in_use(em: EditableModel) -> None:
    name = em.structure.blocks[0].down_proj
    delta = DenseDelta("test", {name: torch.ones(32, 48)})
    base = CovarianceStore(background(*TEXTS)).covariance(em, module_of(em))
    with em.switch.use(BASE.with_edits(LiveEdit("edit", "hash", delta))):
        assert torch.equal(base, CovarianceStore(background(*TEXTS)).covariance(em, module_of(em)))


def test_several_modules_take_one_pass_over_the_text(em: EditableModel, tmp_path: Path) -> None:
    passes: list[int] = []

    def texts() -> tuple[str, ...]:
        passes.append(1)
        return TEXTS

    names = [block.down_proj for block in em.structure.blocks]
    store = CovarianceStore(Background("test", texts), tmp_path)
    store.prepare(em, names)
    together = {name: store.covariance(em, name) for name in names}
    assert len(passes) == 1
    for name in names:
        assert torch.equal(together[name], CovarianceStore(background(*TEXTS)).covariance(em, name))
    CovarianceStore(Background("test", texts), tmp_path).prepare(em, names)
    assert len(passes) == 1


def test_an_empty_subspace_is_found_once_and_kept(em: EditableModel) -> None:
    store = CovarianceStore(background(*TEXTS))
    basis = store.null_space(em, module_of(em), 1e-6)
    assert basis.shape[0] == 48
    assert store.null_space(em, module_of(em), 1e-6) is basis


PROMPTS: tuple[Prompt, ...] = ("The capital of France is", "Alice works for", chat_prompt("Who is Bob?"), "Who")


def asked(*prompts: Prompt) -> Background:
    return Background("test", lambda: TEXTS, prompts=lambda: prompts)


def test_at_ends_the_covariance_is_over_the_last_tokens_of_prompts(em: EditableModel) -> None:
    ends: list[torch.Tensor] = []
    handle = get_module(em.model, module_of(em)).register_forward_hook(lambda m, args, out: ends.append(args[0][0, -1]))
    with torch.no_grad():
        for prompt in PROMPTS:
            em.model(input_ids=torch.tensor([encode_prompt(em, prompt)]))
    handle.remove()
    k = torch.stack(ends).double()
    found = covariances_at_ends(em, [module_of(em)], PROMPTS)[module_of(em)]
    torch.testing.assert_close(found, k.T @ k / len(k), rtol=1e-4, atol=1e-6)


def test_what_is_asked_counts_beside_the_text(em: EditableModel) -> None:
    store, name = CovarianceStore(asked(*PROMPTS)), module_of(em)
    both, text = (store.factor(em, name, 0.1, prompts) for prompts in (5.0, 0.0))
    torch.testing.assert_close(both @ both.T - text @ text.T, 5.0 * store.at_ends(em, name), rtol=1e-9, atol=1e-12)


def test_a_background_without_prompts_counts_none(em: EditableModel) -> None:
    store, name = CovarianceStore(background(*TEXTS)), module_of(em)
    assert not bool(store.at_ends(em, name).any())
    assert torch.equal(store.factor(em, name, 0.1, 5.0), store.factor(em, name, 0.1))


def test_prompts_and_text_are_stored_side_by_side(em: EditableModel, tmp_path: Path) -> None:
    first = CovarianceStore(asked(*PROMPTS), tmp_path)
    text, ends = first.covariance(em, module_of(em)), first.at_ends(em, module_of(em))
    again = CovarianceStore(asked(), tmp_path)
    assert torch.equal(again.covariance(em, module_of(em)), text)
    assert torch.equal(again.at_ends(em, module_of(em)), ends)
    assert not torch.equal(text, ends)
