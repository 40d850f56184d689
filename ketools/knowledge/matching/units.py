"""What stands beside a number: its sign, and whether it is a percentage or an amount of money."""

from __future__ import annotations

from typing import NamedTuple

import regex

LOOK_BACK = 12
"""Characters before a number that may hold its sign and unit."""

_PERCENT_AFTER = regex.compile(
    r"\s*(?:[%٪％]|(?:per\s?cent|percentage|pct|prozent|por\s?ciento|por\s?cento|pour\s?cents?|процент\p{L}*|प्रतिशत"
    r"|फीसदी|(?:في|ب)\s?الم(?:ئة|ائة))(?!\p{L})|パーセント|เปอร์เซ็นต์|เปอร์เซนต์|퍼센트)",
    regex.IGNORECASE,
)
_PERCENT_BEFORE = regex.compile(r"(?:%|百分之|ร้อยละ|\byüzde)\s*$", regex.IGNORECASE)
_CURRENCIES = {
    "$": r"\$|(?:us[ -])?dollars?|usd|dólares|доллар\p{L}*|dolar|دولار\p{L}*|डॉलर|美元|ドル|ดอลลาร์|달러",
    "€": r"€|euros?|eur|евро|avro|يورو|यूरो|欧元|ユーロ|ยูโร|유로",
    "£": r"£|pounds?(?: sterling)?|gbp|pfund|libras|фунт\p{L}*|英镑|ポンド",
    "¥": r"¥|￥|yen|yuan|円|元|иен\p{L}*|юан\p{L}*",
    "₹": r"₹|rupees?|rupien|रुपये|रुपए|रुपया|卢比",
    "₽": r"₽|rubles?|roubles?|rubel|рубл\p{L}*",
    "₺": r"₺|lira|liras",
    "฿": r"฿|baht|บาท",
}
_AFTER = "|".join(f"(?P<c{i}>{body})" for i, body in enumerate(_CURRENCIES.values()))
_CURRENCY_AFTER = regex.compile(rf"(?V1)\s*(?:{_AFTER})(?![\p{{L}}\p{{M}}--\p{{Han}}])", regex.IGNORECASE)
_CURRENCY_BEFORE = regex.compile(r"(?:US|A|C)?([$€£¥￥₹₽₺฿])\s*$")
_MINUS_BEFORE = regex.compile(
    r"(?V1)(?:(?<![[\p{L}\p{N}]--\p{Han}])[-−–‐‑]|\b(?:minus|moins|menos|минус|eksi|سالب|ऋण)\s+|(?:ติดลบ|ลบ)\s*|[负負]|マイナス)$",
    regex.IGNORECASE,
)


class Beside(NamedTuple):
    """The place `[start, end)` of a number with its sign and unit; `unit` is `%`, a currency's sign or empty."""

    start: int
    end: int
    unit: str
    is_negative: bool


def beside(text: str, start: int, end: int, signed: bool) -> Beside:
    """What stands beside the number at `[start, end)`; `signed`: whether a hyphen before it can be its sign."""
    unit = ""
    if percent := _PERCENT_AFTER.match(text, end):
        unit, end = "%", percent.end()
    elif currency := _CURRENCY_AFTER.match(text, end):
        unit, end = next(sign for i, sign in enumerate(_CURRENCIES) if currency[f"c{i}"]), currency.end()
    if percent := _PERCENT_BEFORE.search(text, max(0, start - LOOK_BACK), start):
        unit, start = "%", percent.start()
    elif symbol := _CURRENCY_BEFORE.search(text, max(0, start - LOOK_BACK), start):
        unit, start = symbol[1].replace("￥", "¥"), symbol.start()
    minus = _MINUS_BEFORE.search(text, max(0, start - LOOK_BACK), start) if signed else None
    return Beside(minus.start() if minus else start, end, unit, minus is not None)
