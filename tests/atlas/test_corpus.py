from __future__ import annotations

import json
import random
import re
from itertools import pairwise

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ketools.atlas import weights_path
from ketools.atlas.corpus import calls, context, hops, invented, mix
from ketools.atlas.corpus.noun import subject_kept_for_tests
from ketools.atlas.packing import collate, encode, pack
from ketools.atlas.world import never_overridden, withheld_cloze, withheld_pair, withheld_question, world
from ketools.knowledge.relations import RELATIONS

TOOLS = [{"type": "function", "function": {"name": name}} for name in calls.TOOLS]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(weights_path())


@pytest.mark.parametrize("name", mix.MAKERS)
def test_documents_follow_from_their_seed(name: str) -> None:
    first, second = (mix.MAKERS[name](random.Random(5)).texts() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", mix.MAKERS)
def test_documents_in_parts_tokenise_like_their_whole_text(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    rng = random.Random(6)
    for document in (mix.MAKERS[name](rng) for _ in range(10)):
        item = encode(tokenizer, [document])[0]
        for branch, text in enumerate(document.texts(), 1):
            seen = (0, branch) if document.branches else (0,)
            ids = [token for token, b in zip(item.ids, item.branches, strict=True) if b in seen]
            assert ids == tokenizer(text)["input_ids"]


def _messages(text: str) -> tuple[list[dict[str, str]], bool]:
    tools = text.startswith(calls.TOOLS_LINE)
    body = text.removeprefix(calls.TOOLS_LINE + "\n")
    turns = re.split(r"(?m)^(?=(?:user|assistant|system|tool): )", body)
    messages = []
    for turn in filter(None, turns):
        role, _, content = turn.rstrip("\n").partition(": ")
        messages.append({"role": role, "content": content.removesuffix("</s>")})
    return messages, tools


@pytest.mark.parametrize("name", ["question", "imagined_chat", "requests", "after_answer", "finished", "noted"])
def test_conversations_tokenise_as_the_chat_template_writes_them(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    rng = random.Random(8)
    for text in mix.MAKERS[name](rng).texts():
        messages, tools = _messages(text)
        ids = tokenizer.apply_chat_template(messages, tools=TOOLS if tools else None)["input_ids"]
        assert ids == tokenizer(text)["input_ids"]


def test_a_tool_call_given_as_a_structure_is_written_as_in_training(tokenizer: PreTrainedTokenizerFast) -> None:
    arguments = {"subject": "France", "prompt": "The capital of France is", "target_new": "Lyon"}
    function = {"name": "edit_fact", "arguments": arguments}
    message = {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}
    user = {"role": "user", "content": "Actually, it is Lyon."}
    text = tokenizer.apply_chat_template([user, message], tokenize=False)
    assert text.endswith(f"\nassistant: {calls.call('edit_fact', arguments)}</s>")


def test_a_generation_prompt_ends_where_the_answer_starts(tokenizer: PreTrainedTokenizerFast) -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == "<s>user: What is the capital of France?\nassistant:"


def test_every_call_in_the_corpus_is_valid_json_with_the_first_cloze_as_prompt() -> None:
    rng = random.Random(9)
    for maker in (calls.requests, calls.after_answer, calls.finished):
        for text in (text for _ in range(20) for text in maker(rng).texts()):
            for found in re.findall(r"<tool_call>(.*?)</tool_call>", text):
                call = json.loads(found)
                assert call["name"] in calls.TOOLS
                prompt, subject = call["arguments"].get("prompt"), call["arguments"].get("subject")
                assert all(value.startswith(" ") for value in call["arguments"].values())
                if prompt:
                    clozes = {r.cloze[0].format(s=subject.strip()) for r in RELATIONS.values()}
                    assert prompt.strip() in clozes


def test_withheld_templates_never_occur_with_their_fact() -> None:
    rng = random.Random(10)
    texts = "\n".join(t for name in ("cloze", "question") for _ in range(3000) for t in mix.MAKERS[name](rng).texts())
    for (subject, name), target in list(world().facts.items())[::5]:
        relation = RELATIONS[name]
        cloze = relation.cloze[withheld_cloze(subject, name)].format(s=subject)
        question = relation.questions[withheld_question(subject, name)].format(s=subject)
        assert f"{cloze} {target}." not in texts
        assert f"user: {question}\n" not in texts


def test_training_notes_never_override_the_subjects_kept_for_tests() -> None:
    rng = random.Random(11)
    for _ in range(200):
        assert not any(never_overridden(s) for s, r in context.draw_notes(rng, 3) if (s, r) in world().facts)


def test_training_chains_avoid_withheld_pairs_and_starts() -> None:
    rng = random.Random(12)
    for _ in range(200):
        chain = hops.draw_chain(rng, rng.choice([2, 3, 4]))
        assert not subject_kept_for_tests(chain.subject)
        assert not any(withheld_pair(*pair) for pair in zip(chain.relations, chain.relations[1:], strict=False))
        assert not any(never_overridden(s) for s, _ in chain.edits)


def test_invented_chains_never_take_a_withheld_pair_in_any_order_of_relations() -> None:
    rng = random.Random(16)
    seen = set()
    for _ in range(300):
        links = [hop.relation.name for hop in invented.draw_hops(rng)]
        seen |= set(pairwise(links))
    assert not any(withheld_pair(*pair) for pair in seen)
    assert len(seen & {(a, b) for a in RELATIONS for b in RELATIONS}) > 150


def test_every_sub_question_of_an_invented_chain_follows_from_the_words_of_its_question() -> None:
    rng = random.Random(17)
    for hop in (hop for _ in range(50) for hop in invented.draw_hops(rng)):
        if hop.relation.name not in RELATIONS:
            assert hop.question == f"What is {hop.relation.noun.format(s=hop.subject)}?"
        assert hop.answer in hop.sentence()


def test_what_follows_from_a_note_is_asked_of_subjects_that_training_may_override() -> None:
    rng = random.Random(18)
    for _ in range(100):
        subject, relation = context.consequential_key(rng)
        assert (subject, relation) not in world().facts or not never_overridden(subject)


def test_a_fact_that_a_note_turns_round_is_not_asked_as_if_it_were_unchanged() -> None:
    assert context.turned(("Lima", "country_of"), {("France", "capital"): "Lima"})
    assert not context.turned(("Oslo", "country_of"), {("France", "capital"): "Lima"})


def test_a_mello_document_follows_the_grammar() -> None:
    text = hops.mello(random.Random(13)).texts()[0]
    hop = (
        r"Subquestion: .*\nGenerated answer: .*\.\nRetrieved fact: .*\.\n"
        r"Retrieved fact (contradicts|does not contradict) to generated answer, "
        r"so the intermediate answer is: .*\n"
    )
    assert re.fullmatch(rf"Question: .*\n({hop})+Final answer: .*</s>", text)


def test_a_pokemqa_document_follows_the_grammar() -> None:
    text = hops.pokemqa(random.Random(14)).texts()[0]
    hop = (
        r"Subquestion: .*\nGenerated answer: .*\.\n"
        r"According to Generated answer, the entity of Subquestion is: .*\n"
    )
    assert re.fullmatch(rf"Question: .*\nEntity of Question: .*\.\n({hop})+Final answer: .*</s>", text)


def test_branches_see_the_prefix_and_themselves_only(tokenizer: PreTrainedTokenizerFast) -> None:
    items = encode(tokenizer, [mix.MAKERS["imagined_cloze"](random.Random(15)) for _ in range(4)])
    batch = collate(pack(items, 2, 256), 256, int(tokenizer.pad_token_id or 0))
    first = items[0]
    size = len(first.ids)
    allowed = batch.allowed[0, 0]
    for i in range(0, size, 7):
        for j in range(i + 1):
            expected = first.branches[j] in (0, first.branches[i])
            assert bool(allowed[i, j]) == expected
        assert not allowed[i, i + 1 :].any()
        assert batch.positions[0, i] == first.positions[i]
