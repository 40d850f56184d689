"""Whether a text is put as a chat turn or continued, in any script and with or without a mark."""

from __future__ import annotations

import pytest

from ketools.core.text import is_question
from ketools.knowledge.relations import RELATIONS

ASKED = [
    "What is the capital of France?", "Name the capital city of France.", 'He asked: "What is it?"', "Go!",
    "法国的首都是哪里？", "フランスの首都はどこですか。", "ما هي عاصمة فرنسا؟", "फ्रांस की राजधानी क्या है।", "آج کیا ہے۔", "Where is it? (One word)",
    "what is the capital of france", "who wrote Hamlet", "What did Davey Crocket call his rifle", "where is he from",
    "which countries remained under soviet control after world war two", "what is it made of", "whats the time in Lyon",
    "In which country is Lyon located", "how many moons does mars have", "is lyon the capital of france",
    "tell me the capital of france", "法国的首都是什么", "法国的首都是里昂吗", "フランスの首都はどこ", "ما هي عاصمة فرنسا", "أين تقع ليون",
    "फ्रांस की राजधानी क्या है", "Fransa'nın başkenti neresidir", "เมืองหลวงของฝรั่งเศสคืออะไร", "Quelle est la capitale de la France",
    "¿Cuál es la capital de Francia", "Was ist die Hauptstadt von Frankreich", "какая столица у Франции", "프랑스의 수도는 어디",
]  # fmt: skip
CONTINUED = [
    "The capital of France is", "What is the twin city of Lyon? It is", "France", "People in France speak",
    "Where Danielle Darrieux is from, people speak the language of", "What Danielle Darrieux speaks is",
    "Which team he plays for is", "What the Victorians Did for Us is to debut on", "Capital of France...",
    "The headquarters of St Patrick's Athletic F.C. is surrounded by restaurants including",
    "Q: What is the capital of France?\nA:", "法国的首都是", "フランスの首都は", "La capitale de la France est", "Die Hauptstadt von Frankreich ist",
    "столица Франции —", "عاصمة فرنسا هي", "फ्रांस की राजधानी", "เมืองหลวงของฝรั่งเศสคือ", "프랑스의 수도는", "Fransa'nın başkenti", "",
]  # fmt: skip


@pytest.mark.parametrize("text", ASKED)
def test_questions_and_requests_are_chat_turns(text: str) -> None:
    assert is_question(text)


@pytest.mark.parametrize("text", CONTINUED)
def test_beginnings_are_continued(text: str) -> None:
    assert not is_question(text)


def test_the_templates_of_relations_are_what_they_are_meant_as() -> None:
    for relation in RELATIONS.values():
        assert not any(is_question(cloze.format(s="France")) for cloze in relation.cloze), relation.name
        assert all(is_question(question.format(s="France")) for question in relation.questions), relation.name
