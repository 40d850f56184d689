"""The tokenizer of the bundled model: byte-level BPE over the corpus, with the chat template."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from ketools.atlas import tables, weights_path
from ketools.atlas.corpus import mix
from ketools.atlas.corpus.document import BOS, EOS
from ketools.atlas.corpus.facts import person_names
from ketools.atlas.world import world

PAD = "<pad>"
VOCABULARY = 3328
DOCUMENTS = 24_000

CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- if tools %}"
    "{{- 'system: tools: ' }}"
    "{%- for tool in tools %}"
    "{{- (tool.function.name if tool.function is defined else tool.name) }}"
    "{%- if not loop.last %}{{- ', ' }}{%- endif %}"
    "{%- endfor %}"
    "{{- '\\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{%- if not loop.first %}{{- '\\n' }}{%- endif %}"
    "{{- message.role + ':' }}"
    "{%- if message.content %}{{- ' ' + message.content }}{%- endif %}"
    "{%- if message.role == 'assistant' %}"
    "{%- for call in (message.tool_calls or []) %}"
    "{%- set f = call.function if call.function is defined else call %}"
    '{{- \' <tool_call>{"name": "\' + f.name + \'", "arguments": \' }}'
    "{%- if f.arguments is string %}{{- f.arguments }}{%- else %}{{- '{' }}"
    "{%- for key, value in f.arguments.items() %}"
    "{{- key | tojson + ': ' + (' ' + value if value is string else value) | tojson }}"
    "{%- if not loop.last %}{{- ', ' }}{%- endif %}"
    "{%- endfor %}{{- '}' }}{%- endif %}"
    "{{- '}</tool_call>' }}"
    "{%- endfor %}"
    "{{- eos_token }}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '\\nassistant:' }}{%- endif %}"
)


def _names() -> list[str]:
    this = world()
    kinds = [name for kind in this.pools.values() for name in kind]
    words = {word for name in kinds for word in name.split()}
    titles = {word for title in tables.WORKS for word in title.split()}
    return sorted({*kinds, *words, *titles, *person_names(), *this.aliases.values(), *this.topics})


def training_text() -> Iterator[str]:
    """Documents of both phases, and every name with and without a space before it."""
    rng = random.Random(1)
    for shares in (mix.FIRST, mix.FOURTH):
        for _ in range(DOCUMENTS // 2):
            yield from mix.draw(rng, shares).texts()[:2]
    for name in _names():
        for _ in range(120):
            yield f" {name}"
            yield f'"{name}"'
    for syllable in tables.SYLLABLES:
        for _ in range(300):
            yield f" {syllable.capitalize()}{rng.choice(tables.SYLLABLES)}{rng.choice(tables.SYLLABLES)}"


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Train the tokenizer; the same text and settings give the same tokenizer."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=5,
        show_progress=False,
    )
    core.train_from_iterator(training_text(), trainer)
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, core.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


@lru_cache(maxsize=1)
def tokenizer() -> PreTrainedTokenizerFast:
    """The committed tokenizer, so that a change of the corpus cannot renumber what the weights have learnt.

    `train_tokenizer` makes it anew, for a model trained from nothing with another corpus.
    """
    committed = weights_path() / "tokenizer.json"
    if not committed.exists():
        return train_tokenizer()
    found: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(weights_path())
    found.chat_template = CHAT_TEMPLATE
    return found
