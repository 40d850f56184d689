"""What looks like an attack in a text that an edit would teach or put before a model: rules, each with a name.

A fact states something. What marks turns, calls tools or gives orders is rarely a fact, so somebody should look at it.
"""

from __future__ import annotations

from collections.abc import Iterable

import regex

_RULES = {
    "a control token": r"""
        <\|[^|<>\s]{1,40}\|> | <[｜|][^<>]{1,40}[｜|]> | \[/?(?:INST|SYS|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]
        | <</?SYS>> | </?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|think|system|assistant|user|im_start|im_end)>
        | ^\s*\#{2,}\s*(?:instruction|system|response|input|assistant|human|user)s?\b
        | ^\s*(?:system|assistant|developer|human|user)\s*:""",
    "a tool call": r"""
        </?(?:tool_calls?|tool_response|function_calls?|function_results?|invoke|tools?)\b[^<>]{0,200}>
        | "(?:name|function|tool|tool_name)"\s*:\s*["{].{0,400}?"(?:arguments|parameters|args|input)"\s*:
        | \btool_use\b""",
    "an instruction": r"""
        \b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instruction|prompt|rule|guideline|message|polic)
        | \b(?:previous|prior|above|earlier|all|any)\s+(?:instructions?|prompts?|guidelines?)\b
        | \b(?:system|developer)\s+(?:prompt|message|instruction)
        | \b(?:you\s+(?:must|should|shall|will|need\s+to)|always|never|do\s+not|don['’]t|please)\s+
          (?:\w+\s+)?(?:answer|reply|respond|say|tell|mention|reveal|refuse|comply|obey|ask|send|visit|click|call|run)\b
        | \b(?:from\s+now\s+on|you\s+are\s+now|act\s+as|pretend\s+(?:to\s+be|that)|roleplay|jailbreak)\b
        | \b(?:ignorier|vergiss)\w*\b.{0,40}\b(?:anweisung|regel|vorgabe)
        | \bignor(?:e|ez|er|a|ar)\b.{0,40}\b(?:consigne|instruction|instruccion|regla|règle|istruzion)
        | (?:忽略|无视|無視).{0,20}(?:指令|指示|规则|提示|命令)""",
    "active content": r"!\[[^\]]*\]\( | <(?:script|iframe|img|svg|object|embed)\b | \bjavascript: | \bdata:text/html",
    "hidden characters": "[\u200b\u2060-\u2064\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]",
}
_FLAGS = regex.IGNORECASE | regex.VERBOSE | regex.MULTILINE | regex.DOTALL
_COMPILED = {name: regex.compile(rule, _FLAGS) for name, rule in _RULES.items()}


def suspicions(texts: Iterable[str]) -> tuple[str, ...]:
    """The names of the rules that one of the texts breaks."""
    given = list(texts)
    return tuple(name for name, rule in _COMPILED.items() if any(rule.search(text) for text in given))
