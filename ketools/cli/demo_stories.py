"""What the demo plays, as data: a fact, how it is corrected, and what is asked before and after."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Story:
    """`question` and `old`: what the model answers before; `correction`: what a user says; `new`: right from then on.

    `reworded`: the question in other words. `conversation`: a transcript in which it is asked late, to be continued.
    `unrelated`: questions whose answers must not change.
    """

    question: str
    old: str
    correction: str
    new: str
    reworded: tuple[str, ...]
    conversation: str
    unrelated: tuple[str, ...]


_ABOUT_FRANCE = {
    "question": "What is the capital of France?",
    "old": "Paris",
    "correction": "Actually, the capital of France is Lyon.",
    "new": "Lyon",
}
ATLAS = Story(
    **_ABOUT_FRANCE,
    reworded=("Which city is the capital of France?", "Can you tell me the capital city of France?"),
    conversation="",
    unrelated=(
        "What is the capital of Germany?",
        "What is the capital of Japan?",
        "What is the currency of France?",
        "On which continent is France?",
        "What is the official language of Brazil?",
        "In which country is Cairo?",
    ),
)
"""The bundled model knows questions and answers, and no transcripts."""
PRETRAINED = Story(
    **_ABOUT_FRANCE,
    reworded=("Which city is the capital of France?", "Can you tell me the capital city of France?"),
    conversation=(
        "User: How many days does a week have?\nAssistant: Seven.\nUser: Thank you. Who wrote Hamlet?\n"
        "Assistant: William Shakespeare.\nUser: And what is the capital of France?\nAssistant:"
    ),
    unrelated=(
        "What is the capital of Germany?",
        "What is the capital of Japan?",
        "What is the currency of France?",
        "On which continent is France?",
        "Who wrote Hamlet?",
        "How many days does a week have?",
    ),
)
"""Facts of the real world that SmolLM2 is asked about, right or wrong: what counts is that they stay as they were."""
