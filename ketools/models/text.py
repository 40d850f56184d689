"""The one place where prompts become token ids, for engines and methods alike.

The tokenizer is never asked to pad or truncate: those settings live in the tokenizer and are not
thread-safe.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch
from jinja2 import TemplateError
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.core.requests import Prompt
from ketools.core.text import gap

Messages = Sequence[dict[str, Any]]

BREAK = "\ufdd0"
"""Stands inside what looks like a special token in somebody's text; a noncharacter, so no text holds it."""


class Tokenized(Protocol):
    """Whatever holds a fast tokenizer and knows its model's device, such as an `EditableModel`."""

    @property
    def tokenizer(self) -> Any: ...

    @property
    def device(self) -> torch.device: ...


class Speaker(Tokenized, Protocol):
    """Whatever also holds the model that generates."""

    @property
    def model(self) -> Any: ...


def render(em: Tokenized, prompt: Prompt) -> str:
    """The text that the model continues: a string as it is, chat messages through the chat template."""
    return _rendered(em, prompt)[0].replace(BREAK, "")


def encode_prompt(em: Tokenized, prompt: Prompt) -> list[int]:
    """Token ids of the prompt, with the special tokens that the model expects, each once.

    Raises `InvalidRequest` when the prompt is empty or the chat template refuses it.
    """
    return _encode(em, *_rendered(em, prompt))


def encode_document(em: Tokenized, document: str) -> list[int]:
    """Token ids of a text that its author wrote for this model: special tokens in it are control tokens."""
    return _encode(em, document, True)


def encode_chat(em: Tokenized, messages: Messages, tools: Sequence[dict[str, Any]] = ()) -> list[int]:
    """Token ids of a conversation up to the assistant's next turn; `tools` in the OpenAI form."""
    return _encode(em, *_render_chat(em, messages, tools))


def encode_pair(em: Tokenized, prompt: Prompt, continuation: str) -> tuple[list[int], list[int]]:
    """Token ids of the prompt, exactly as for generation, and of the continuation after it.

    A prompt that ends in a space, a newline or a script without spaces is continued directly, any other after a space.
    Raises `InvalidRequest` when either is empty.
    """
    return encode_pairs(em, [prompt], [continuation])[0]


def length(em: Tokenized, prompt: Prompt, continuation: str = "") -> int:
    """How many tokens the prompt has, with what continues it, if anything does."""
    if not continuation.strip():
        return len(encode_prompt(em, prompt))
    return sum(map(len, encode_pair(em, prompt, continuation)))


def encode_pairs(
    em: Tokenized, prompts: Sequence[Prompt], continuations: Sequence[str]
) -> list[tuple[list[int], list[int]]]:
    """`encode_pair` for each prompt with its continuation. Raises `InvalidRequest` unless they are as many.

    All texts go through the tokenizer together, which is several times faster than one after the other.
    """
    if len(prompts) != len(continuations):
        raise InvalidRequest(
            f"{len(prompts)} prompts but {len(continuations)} continuations; send one for each prompt."
        )
    rendered = [_rendered(em, prompt) for prompt in prompts]
    after = [as_text(em, _continuation(text, wish)) for (text, _), wish in zip(rendered, continuations, strict=True)]
    wholes = [(text + more, special) for (text, special), more in zip(rendered, after, strict=True)]
    found = _token_lists(em, [*rendered, *wholes])
    return [
        (ids, _rest(em, text, more, ids, whole))
        for (text, _), more, ids, whole in zip(rendered, after, found, found[len(after) :], strict=False)
    ]


def _continuation(text: str, continuation: str) -> str:
    if not continuation.strip():
        raise InvalidRequest("The continuation to score is empty; give the text that should follow the prompt.")
    return continuation if continuation[:1].isspace() else f"{gap(text)}{continuation}"


def _rest(em: Tokenized, text: str, more: str, prompt: list[int], whole: list[int]) -> list[int]:
    """The ids of what follows a prompt, from the ids of the prompt and of both as one text."""
    _require_prompt(text, prompt)
    # A token may straddle the border; generation starts from the prompt's ids, so those must stay as they are.
    if len(whole) > len(prompt) and whole[: len(prompt)] == prompt:
        return whole[len(prompt) :]
    return _tokens(em, more, special=False)


def stop_ids(em: Speaker) -> frozenset[int]:
    """The ids that end a turn: those of the model's generation config and the tokenizer's own."""
    configured = em.model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list | tuple) else [configured]
    return frozenset(int(i) for i in (*ids, em.tokenizer.eos_token_id) if i is not None)


def encode_answer(em: Speaker, prompt: Prompt, answer: str) -> tuple[list[int], list[int]]:
    """Like `encode_pair`, with the answer brought to its end: a turn ended, a sentence closed.

    An answer that is taught without its end may be said and then gone on with ("Estonian and Russian").
    """
    if isinstance(prompt, str):
        return encode_pair(em, prompt, answer if answer.endswith((".", "!", "?")) else f"{answer}.")
    prompt_ids, answer_ids = encode_pair(em, prompt, answer)
    return prompt_ids, answer_ids + _turn_end(em, prompt, answer)


def _turn_end(em: Speaker, prompt: Prompt, answer: str) -> list[int]:
    """The token with which the chat template ends an assistant's turn, if generation stops at it."""
    stops = stop_ids(em)
    turn = [*({**m} for m in prompt if not isinstance(m, str)), {"role": "assistant", "content": answer}]
    if getattr(em.tokenizer, "chat_template", None):
        written = em.tokenizer.apply_chat_template(turn, tokenize=False)
        after = _tokens(em, written.rpartition(answer)[2], special=False)
        ends = [token for token in after if token in stops]
        if ends:
            return ends[:1]
    return [em.tokenizer.eos_token_id] if em.tokenizer.eos_token_id is not None else []


def last_subject_token(em: Tokenized, prompt: Prompt, subject: str) -> int:
    """The index, into `encode_prompt`'s ids, of the last token of the subject's last occurrence.

    Upper and lower case count as the same; whole words are preferred. Raises `InvalidRequest` when the
    prompt does not contain the subject.
    """
    text, special = _rendered(em, prompt)
    start, end = _last_occurrence(text.replace(BREAK, ""), subject)
    spans = enumerate(_offsets(em, text, special))
    inside = [i for i, (left, right) in spans if left < end and right > start]
    if not inside:
        raise InvalidRequest(f"The tokenizer drops the subject {subject!r}; name it in other words.")
    return inside[-1]


def pad(em: Tokenized, sequences: Sequence[Sequence[int]], left: bool = False) -> tuple[Tensor, Tensor]:
    """Sequences of ids as one batch: `input_ids` and `attention_mask`, both `[n, longest]`.

    Both lie on the model's device; padding stands on the right, unless `left`.
    """
    longest = max(map(len, sequences))
    filler = pad_id(em)
    ids, mask = [], []
    for sequence in sequences:
        gap = longest - len(sequence)
        padding, row, ones = [filler] * gap, list(sequence), [1] * len(sequence)
        ids.append(padding + row if left else row + padding)
        mask.append([0] * gap + ones if left else ones + [0] * gap)
    return torch.tensor(ids, device=em.device), torch.tensor(mask, device=em.device)


def pad_id(em: Tokenized) -> int:
    """The id that fills padded places; masked out, so any will do where the tokenizer has no own."""
    for token in (em.tokenizer.pad_token_id, em.tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def _rendered(em: Tokenized, prompt: Prompt) -> tuple[str, bool]:
    """The text, and whether the tokenizer should still add its special tokens."""
    if isinstance(prompt, str):
        return as_text(em, prompt), True
    return _render_chat(em, [dict(message) for message in prompt], ())


def as_text(em: Tokenized, text: str, role: str = "user", mark: str = BREAK) -> str:
    """The text with a mark in everything that the tokenizer would read as a special token.

    What users, notes and targets say is text: it can neither end a turn nor begin one. An assistant's own turn keeps
    its other markers, such as those of tool calls.
    """
    text = text.replace(BREAK, "\ufffd")
    for token in _special_tokens(em.tokenizer, role == "assistant"):
        text = text.replace(token, f"{token[0]}{mark}{token[1:]}")
    return text


@lru_cache(maxsize=32)
def _special_tokens(tokenizer: Any, only_ends: bool) -> tuple[str, ...]:
    """The tokenizer's special tokens, longest first; or those alone that begin and end sequences."""
    ends = {tokenizer.bos_token, tokenizer.eos_token} - {None}
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    found = ends if only_ends else {*ends, *added, *tokenizer.all_special_tokens}
    return tuple(sorted((token for token in found if len(token) > 1), key=len, reverse=True))


def _render_chat(em: Tokenized, messages: Messages, tools: Sequence[dict[str, Any]]) -> tuple[str, bool]:
    if not messages:
        raise InvalidRequest("The conversation is empty; send at least one message with a role and content.")
    safe = [_safe(em, message) for message in messages]
    if not em.tokenizer.chat_template:
        return _plain_chat(safe, tools), True
    try:
        text = em.tokenizer.apply_chat_template(
            safe, tools=list(tools) or None, tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, TypeError, KeyError, ValueError) as error:
        raise InvalidRequest(
            f"The model's chat template refuses these messages: {error}. Check the roles, their order and the content."
        ) from error
    # A chat template writes the special tokens itself.
    return str(text), False


def _safe(em: Tokenized, message: Mapping[str, Any]) -> dict[str, Any]:
    """The message with its content as text, whole or in parts."""
    content, role = message.get("content"), str(message.get("role"))
    if isinstance(content, str):
        return {**message, "content": as_text(em, content, role)}
    if isinstance(content, list):
        parts = [{**p, "text": as_text(em, p["text"], role)} if isinstance(p.get("text"), str) else p for p in content]
        return {**message, "content": parts}
    return dict(message)


def _plain_chat(messages: Messages, tools: Sequence[dict[str, Any]]) -> str:
    """How a model without a chat template is spoken to: one `role: content` line per message."""
    lines = [f"tools: {json.dumps(list(tools), ensure_ascii=False)}"] if tools else []
    lines += [f"{message.get('role', 'user')}: {message.get('content', '')}" for message in messages]
    return "\n".join([*lines, "assistant:"])


def _encode(em: Tokenized, text: str, special: bool) -> list[int]:
    ids = _tokens(em, text, special)
    _require_prompt(text, ids)
    return ids


def _require_prompt(text: str, ids: list[int]) -> None:
    if not text.strip() or not ids:
        raise InvalidRequest("The prompt is empty; send the text that the model should continue.")


def _tokens(em: Tokenized, text: str, special: bool) -> list[int]:
    return _token_lists(em, [(text, special)])[0]


def _token_lists(em: Tokenized, texts: Sequence[tuple[str, bool]]) -> list[list[int]]:
    """Ids of texts, each with whether special tokens are added."""
    out: list[list[int]] = [[] for _ in texts]
    pieces = [(i, piece, special) for i, (text, wish) in enumerate(texts) for piece, special in _pieces(text, wish)]
    ids: dict[int, list[int]] = {}
    for special in (False, True):
        chosen = [k for k, (_, _, wish) in enumerate(pieces) if wish is special]
        if chosen:
            these = [pieces[k][1] for k in chosen]
            found = em.tokenizer(these, add_special_tokens=special, return_attention_mask=False)["input_ids"]
            ids.update(zip(chosen, found, strict=True))
    for k, (i, _, _) in enumerate(pieces):
        out[i] += ids[k]
    return out


def _pieces(text: str, special: bool) -> list[tuple[str, bool]]:
    """The parts of a text between its breaks, each with whether special tokens are added: to the first alone."""
    first, *rest = text.split(BREAK)
    return [(first, special), *((piece, False) for piece in rest)]


def _offsets(em: Tokenized, text: str, special: bool) -> list[tuple[int, int]]:
    """Where each token begins and ends in the text without its breaks."""
    found: list[tuple[int, int]] = []
    at = 0
    for piece, wish in _pieces(text, special):
        encoding = em.tokenizer(piece, add_special_tokens=wish, return_offsets_mapping=True)
        found += [(at + left, at + right) for left, right in encoding["offset_mapping"]]
        at += len(piece)
    return found


def _last_occurrence(text: str, subject: str) -> tuple[int, int]:
    """The span of characters of the subject's last occurrence; as whole words if there is one."""
    pattern = re.escape(subject)
    for candidate in (rf"(?<!\w){pattern}(?!\w)", pattern):
        spans = [match.span() for match in re.finditer(candidate, text, re.IGNORECASE)]
        if spans:
            return spans[-1]
    raise InvalidRequest(
        f"The prompt {text!r} does not contain the subject {subject!r}; write the prompt so that it names it."
    )
