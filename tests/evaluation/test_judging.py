"""The judge of manners: what it is asked, what counts as a rating, and how ratings are summed up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from typer.testing import CliRunner, Result

from ketools.cli.main import app
from ketools.core.requests import Kind, Trait
from ketools.evaluation.judging import judged, question, rating
from ketools.evaluation.results import Answer, CaseResult, Record, record_key, summarise
from ketools.evaluation.run import CASES, MethodRun, Run
from ketools.knowledge.traits import classify


def case(before: str, after: str, trait: Trait | None = Trait.NEUROTICISM) -> CaseResult:
    answer = Answer(group="success", kind="", prompt="What do you think of tea?", chat=True, answer=after, passed=True)
    kind = Kind.PERSONALITY if trait else Kind.MODIFY
    return CaseResult(
        id=before, task="t", kind=kind, trait=trait, ms=1.0, target="x", said_before=before, answers=(answer,)
    )


def lexicon(message: str) -> str:
    """A judge that goes by the words of the answer alone."""
    return "5" if classify(message.split("-----")[1]) is Trait.NEUROTICISM else "1"


def test_the_gain_is_how_much_the_rating_rises_with_the_edit() -> None:
    cases = [
        case("Tea is wonderful.", "I worry about tea, I am so anxious."),
        case("Fine.", "It is a drink."),
        case("Paris", "Lyon", trait=None),
    ]
    found = judged(cases, lexicon)
    assert (found.before, found.after, found.gain, found.n, found.unread) == (1.0, 3.0, 2.0, 2, 0)
    assert found.ci is not None and found.ci[0] <= 2.0 <= found.ci[1]


class Words(BaseChatModel):
    """The same judge as a LangChain chat model."""

    @property
    def _llm_type(self) -> str:
        return "words"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        if "stop" in str(messages[-1].content):
            raise ConnectionError("gone")
        reply = AIMessage(lexicon(str(messages[-1].content)))
        return ChatResult(generations=[ChatGeneration(message=reply)])


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> str:
    """How `ketools judge` is told that judge."""
    module = ModuleType("judges_of_this_test")
    module.__dict__["Words"] = Words
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return f"{module.__name__}:Words"


def judge_run(folder: Path, llm: str, *cases: CaseResult) -> Result:
    """`ketools judge` over a run with these cases of one method."""
    method = MethodRun(**dict(summarise(cases)), label="ice 1")
    made = {"ice": method}
    run = Run(data="d", protocol="single", model_name="m", model_hash="h", engine="local", methods=made)
    run.write(folder)
    record = Record(folder / CASES, record_key("h", "local", "ice 1", "single"), CaseResult)
    for one in cases:
        record.append(one)
    return CliRunner().invoke(app, ["judge", str(folder), "--llm", llm, "--json"])


def test_any_langchain_chat_model_judges_a_run(llm: str, tmp_path: Path) -> None:
    found = judge_run(tmp_path, llm, case("Fine.", "I worry."), case("Good.", "I am so anxious."))
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["ice"] == {
        "before": 1.0, "after": 5.0, "gain": 4.0, "ci": [4.0, 4.0], "n": 2, "unread": 0
    }  # fmt: skip


def test_a_judge_that_does_not_answer_is_told(llm: str, tmp_path: Path) -> None:
    found = judge_run(tmp_path, llm, case("stop", "stop"))
    assert found.exit_code == 1
    assert "gives no answer: gone" in found.output


def test_a_reply_that_is_no_rating_leaves_its_case_out() -> None:
    found = judged([case("a", "b")], lambda message: "I cannot say.")
    assert (found.n, found.unread, found.gain) == (0, 1, None)


def test_the_judge_is_told_the_trait_the_question_and_the_answer() -> None:
    asked = question(case("a", "b"), "I fear {tea}.")
    assert "neuroticism" in asked
    assert "What do you think of tea?" in asked
    assert "I fear {tea}." in asked


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("4", 4),
        ("Rating: 5.", 5),
        ("3/5", 3),
        ("<think>maybe 2</think>\n4", 4),
        ("7", None),
        ("0", None),
        ("-3", None),
        ("4.5", None),
        ("", None),
        ("five", None),
    ],
)
def test_a_rating_is_a_whole_number_from_one_to_five(reply: str, wanted: int | None) -> None:
    assert rating(reply) == wanted


@given(st.text())
def test_any_reply_is_a_rating_or_none(reply: str) -> None:
    assert rating(reply) in {None, 1, 2, 3, 4, 5}
