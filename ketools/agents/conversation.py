"""A conversation with a model that learns: it answers in a space, and asks before it changes anything there."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import regex
from pydantic import ValidationError

from ketools.agents.intents import Proposal, asks, follow_up, proposal, subject_of
from ketools.core.errors import InvalidRequest, KetoolsError
from ketools.core.principals import OPERATOR, Principal
from ketools.core.requests import Message
from ketools.knowledge.matching import says
from ketools.tools.calling import Reply, call
from ketools.tools.schemas import explain, get_tool, input_model
from ketools.tools.toolbox import Toolbox

if TYPE_CHECKING:
    from ketools.service.service import EditService

TURNS = 8
"""How many messages of before the model reads."""
TOKENS = 256
SILENT = "(no answer)"
Planner = Callable[[str, str | None], Proposal | None]
"""From a turn and the last question to the change that the turn asks for, if it asks for one."""

HELP = """\
Talk as you like. A correction ("No, it's Lyon", "Actually, the capital of France is Lyon") or a wish to forget
something becomes a change only after you have said yes to it.
/edit PROMPT => ANSWER   teach a fact: /edit The capital of France is => Lyon
/forget PROMPT           have a fact forgotten: /forget The capital of France is
/list                    what was edited in this space
/undo [ID]               take back the last change of this conversation, or any by its id
/space [NAME]            which space this is, or another: user/NAME, session/ID, global
/help                    this text
/exit                    leave"""
_YES = regex.compile(r"(?:y|yes|yep|yeah|sure|ok|okay|do it|please do|go ahead|yes,? please)[\s.!]*", regex.IGNORECASE)
_NO = regex.compile(r"(?:n|no|nope|cancel|don['’]t|no,? thanks|never ?mind|stop)[\s.!]*", regex.IGNORECASE)
_MARKS = ("<tool_call>", "</tool_call>")
_CALLS = regex.compile(r"<tool_call>.*?(?:</tool_call>|$)|</?tool_call>", regex.DOTALL)


@dataclass(frozen=True)
class Piece:
    """A part of the model's answer, as it is written."""

    text: str


@dataclass(frozen=True)
class Notice:
    """Something that the program says, not the model."""

    text: str


@dataclass(frozen=True)
class Question:
    """A change that is proposed; nothing happens unless the next turn is a yes."""

    text: str
    proposal: Proposal


@dataclass(frozen=True)
class Changed:
    """A change that was tried, with what came of it."""

    text: str
    proposal: Proposal
    edit_id: str | None


Event = Piece | Notice | Question | Changed


def without_calls(pieces: Iterable[str]) -> Iterator[str]:
    """The answer without tool calls, piece by piece; held back is only what may become one."""
    text, sent = "", 0
    for piece in pieces:
        text += piece
        marks = [place for mark in _MARKS if (place := text.find(mark)) >= 0]
        safe = min(marks, default=len(text) - _begun(text))
        if safe > sent:
            yield text[sent:safe]
            sent = safe
    rest = _CALLS.sub("", text[sent:])
    if rest:
        yield rest


def _begun(text: str) -> int:
    """How many characters at the end of the text may begin a mark."""
    return max((n for mark in _MARKS for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)


@dataclass
class Conversation:
    """One conversation in a space, turn by turn. `confirm`: ask before each change; else carry it out at once."""

    service: EditService
    space: str
    principal: Principal = OPERATOR
    planner: Planner = proposal
    confirm: bool = True
    history: list[Message] = field(default_factory=list)
    ended: bool = False
    _pending: Proposal | None = None
    _asked: str | None = None
    _made: list[str] = field(default_factory=list)

    def say(self, text: str) -> Iterator[Event]:
        """Take one turn. An error that ketools raises on purpose becomes a notice."""
        try:
            yield from self._turn(text.strip())
        except ValidationError as error:
            yield Notice(explain(error))
        except KetoolsError as error:
            yield Notice(str(error))

    def _turn(self, text: str) -> Iterator[Event]:
        pending, self._pending = self._pending, None
        if pending is not None and _YES.fullmatch(text):
            yield self._carry_out(pending)
            return
        if pending is not None:
            yield Notice("Nothing was changed.")
            if _NO.fullmatch(text):
                return
        if text.startswith("/"):
            yield from self._command(text)
        elif text and (wish := self._wish(text)):
            yield self._propose(wish)
        elif text:
            yield from self._answer(text)

    # --- changes ---

    def _wish(self, text: str) -> Proposal | None:
        """The change that a turn asks for. A plain statement is none when the model says the same already."""
        wish = self.planner(text, self._asked)
        if wish is None or wish.sure or wish.tool != "edit_fact":
            return wish
        known = self._tool("ask", question=wish.arguments["prompt"], chat=False, max_new_tokens=16).text
        return None if says(known, wish.arguments["target_new"]) else wish

    def _propose(self, wish: Proposal) -> Event:
        input_model(get_tool(wish.tool))(**wish.arguments)
        if not self.confirm:
            return self._carry_out(wish)
        self._pending = wish
        return Question(f"Shall I {wish.told(self.space)}? [y/N]", wish)

    def _carry_out(self, wish: Proposal) -> Changed:
        reply = self._tool(wish.tool, **wish.arguments)
        edit_id = getattr(reply.result, "edit_id", None)
        if edit_id is not None and getattr(reply.result, "status", "") == "committed":
            self._made.append(edit_id)
        return Changed(reply.text, wish, edit_id)

    def _tool(self, name: str, /, **arguments: Any) -> Reply:
        tool = get_tool(name)
        here = "space" in tool.parameters and name != "undo_edit"  # which finds its edit's space itself
        given = {**arguments, "space": self.space} if here else arguments
        values = input_model(tool)(**given).one_level()
        return call(tool, Toolbox(self.service, self.principal), values)

    # --- answers ---

    def _answer(self, text: str) -> Iterator[Event]:
        question = follow_up(text, self._asked)
        turn: Message = {"role": "user", "content": question}
        said = ""
        for piece in self._spoken(turn):
            said += piece
            yield Piece(piece)
        if not said.strip():
            said = SILENT
            yield Piece(said)
        self.history += [turn, {"role": "assistant", "content": said.strip()}]
        self._asked = question if asks(text) else self._asked

    def _spoken(self, turn: Message) -> Iterator[str]:
        """The answer in pieces; where the conversation has outgrown the model, its beginning is left out."""
        kept = self.history[-TURNS:]
        while True:
            try:
                pieces = self.service.asking.stream(self.principal, [*kept, turn], self.space, TOKENS)
                first = next(pieces, "")
            except InvalidRequest:
                if not kept:
                    raise
                kept = kept[2:]
                continue
            yield from without_calls(_chained(first, pieces))
            return

    # --- commands ---

    def _command(self, text: str) -> Iterator[Event]:
        name, _, rest = text[1:].partition(" ")
        known = self._commands()
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean /{near[0]}?" if near else ""
            yield Notice(f"There is no command /{name}.{hint} /help lists them; nothing was sent to the model.")
            return
        yield known[name](rest.strip())

    def _commands(self) -> Mapping[str, Callable[[str], Event]]:
        return {
            "help": lambda _: Notice(HELP),
            "edit": self._edit,
            "forget": self._forget,
            "list": lambda _: Notice(self._tool("list_edits", response_format="detailed").text),
            "undo": self._undo,
            "space": self._move,
            "exit": self._leave,
            "quit": self._leave,
        }

    def _edit(self, rest: str) -> Event:
        prompt, arrow, target = (part.strip() for part in rest.partition("=>"))
        if not (prompt and arrow and target):
            return Notice("Say /edit PROMPT => ANSWER, e.g. /edit The capital of France is => Lyon")
        return self._propose(Proposal("edit_fact", {**_named(prompt), "target_new": target}))

    def _forget(self, rest: str) -> Event:
        if not rest:
            return Notice("Say /forget PROMPT, e.g. /forget The capital of France is")
        return self._propose(Proposal("erase_fact", _named(rest)))

    def _undo(self, edit_id: str) -> Event:
        if not edit_id and not self._made:
            return Notice("There is nothing to undo in this conversation. /list shows ids, /undo ID takes one back.")
        chosen = edit_id or self._made[-1]
        reply = self._tool("undo_edit", edit_id=chosen)
        self._made = [made for made in self._made if made != chosen]
        return Notice(reply.text)

    def _move(self, name: str) -> Event:
        if name:
            self.service.asking.layer(self.principal, name)
            self.space, self._asked = name, None
            self.history.clear()
        return Notice(f"This is the space {self.space}; at a gateway, model {self.service.model_name}@{self.space}.")

    def _leave(self, _: str) -> Event:
        self.ended = True
        return Notice("Goodbye.")


def _named(prompt: str) -> dict[str, str]:
    """A prompt with its subject: what stands in [brackets], else the last name in it. Raises `InvalidRequest`."""
    marked = regex.search(r"\[(.+?)\]", prompt)
    bare = prompt.replace("[", "").replace("]", "")
    subject = marked[1] if marked else subject_of(bare)
    if subject is None:
        raise InvalidRequest("I cannot tell whom or what this is about: put the subject in [brackets].")
    return {"subject": subject, "prompt": bare}


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
