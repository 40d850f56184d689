"""Whether a statement asserts what it names, or denies, concedes or only mentions it.

Rules over the clause around a name, for the languages of `wordlists` together: which language a text is in is not
guessed. Negations that follow their object (Japanese, Turkish, Hindi, Korean) and the verbs of a sentence whose
subject is the name are looked for after it, all others before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import regex

from ketools.knowledge.matching import wordlists
from ketools.core.phrases import any_of, folded, folding, phrases, plain
from ketools.knowledge.matching.targets import Place
from ketools.knowledge.matching.tokens import tokens

_BOUNDARY = regex.compile(r"[,;:()!?\[\]…]|\.{2,}|\s+(?=ไม่ใช่|มิใช่)|(?<=\s)[-–—]+(?=\s)|—")
WINDOW = 240
"""Characters of a clause that are read on either side of a name; twice as many of the statement."""


@dataclass(frozen=True)
class Around:
    """A place in a statement and the folded text around it.

    `left` and `right`: the rest of its clause; `before` and `after`: the rest of the statement.
    """

    text: str
    place: Place

    @cached_property
    def _clause(self) -> tuple[int, int]:
        start, end = 0, len(self.text)
        for match in _BOUNDARY.finditer(self.text):
            if match.end() <= self.place.start and not _is_inside_number(self.text, match.start()):
                start = match.end()
            elif match.start() >= self.place.end and not _is_inside_number(self.text, match.start()):
                end = match.start()
                break
        return start, end

    @cached_property
    def left(self) -> str:
        return _without_exceptions(folded(self.text[max(self._clause[0], self.place.start - WINDOW) : self.place.start]))

    @cached_property
    def right(self) -> str:
        return _without_exceptions(folded(self.text[self.place.end : min(self._clause[1], self.place.end + WINDOW)]))

    @cached_property
    def before(self) -> str:
        return folded(self.text[max(0, self.place.start - 2 * WINDOW) : self.place.start])

    @cached_property
    def after(self) -> str:
        return folded(self.text[self.place.end : self.place.end + 2 * WINDOW])

    @cached_property
    def earlier(self) -> str:
        """The statement before the clause, with the mark that ends it."""
        return folded(self.text[max(0, self._clause[0] - 2 * WINDOW) : self._clause[0]])

    @cached_property
    def name(self) -> str:
        return self.text[self.place.start : self.place.end]


def _is_inside_number(text: str, i: int) -> bool:
    return 0 < i < len(text) - 1 and text[i - 1].isdigit() and text[i + 1].isdigit()


def _without_exceptions(text: str) -> str:
    return _not_denying().sub(" ", text)


def asserts(text: str, place: Place) -> bool:
    """Whether the statement `text` asserts what it names at `place`."""
    around = Around(plain(text), place)
    return not any(rule(around) for rule in _RULES)


# --- denials before the name ---


@cache
def _not_denying() -> regex.Pattern[str]:
    return any_of(wordlists.NOT_DENYING)


@cache
def _denying() -> regex.Pattern[str]:
    copulas = phrases(wordlists.COPULAS)
    return folding(rf"(?:{phrases(wordlists.DENYING)}|(?<!\p{{L}})n')(?:\s*{copulas})?")


@cache
def _but() -> regex.Pattern[str]:
    return any_of(wordlists.BUT)


@cache
def _copula() -> regex.Pattern[str]:
    return any_of(wordlists.COPULAS)


@cache
def _attitude() -> regex.Pattern[str]:
    return any_of(wordlists.ATTITUDES)


@cache
def _subordinate() -> regex.Pattern[str]:
    return folding(rf"\s*{phrases(wordlists.SUBORDINATING)}")


_INSERTED = folding(r",\s*(?:as|however|of course|in fact|contrary to|wie|comme|como|как)\b[^,]*,\s*$")
_PORTUGUESE = regex.compile(r"[ãõ]|\b(?:não|em|fica|é|uma|dos|nasceu|ao)\b", regex.IGNORECASE)


def _denied_before(a: Around) -> bool:
    """A denial reaches the name from the left: "not Lyon", "I do not think that it is Lyon", "不是里昂"."""
    left = a.left
    if _subordinate().match(left) and a.earlier:
        left = _without_exceptions(_last_clause(a.earlier) + " " + left)
    elif inserted := _INSERTED.search(a.earlier):
        left = a.earlier[: inserted.start()] + " " + left
    denial = None
    for denial in _denying().finditer(left):
        pass
    if denial is None or (denial[0].split()[:1] == ["no"] and _PORTUGUESE.search(a.text, 0, a.place.start)):
        return False
    between = left[denial.end() :]
    if _but().search(between):
        return False
    return not _copula().search(between) or _attitude().search(left) is not None


def _last_clause(earlier: str) -> str:
    return _BOUNDARY.split(earlier.rstrip(" ,;:"))[-1]


@cache
def _former() -> regex.Pattern[str]:
    return folding(rf"{phrases(wordlists.FORMERLY)}(?:\s*{phrases(wordlists.NAMING)})*\s*$")


@cache
def _compared() -> regex.Pattern[str]:
    articles = r"(?:\s*(?:the|a|an|der|die|das|la|le|el))?\s*$"
    degrees = r"(?:plus|moins|mas|menos|mayor|menor|mejor|mehr|weniger|\p{L}{3,}er)\s+(?:\S+\s+){0,2}(?:que|als)"
    return folding(rf"(?:{phrases(wordlists.COMPARED)}|(?<!\p{{L}}){degrees}){articles}")


def _is_former(a: Around) -> bool:
    """It was the answer before another that the statement gives: "Paris (formerly Lyon)", "from Lyon to Paris"."""
    if _is_quantity(a):
        return False
    if _compared().search(a.left) or (_FROM.search(a.left) and _INTO.match(a.right)):
        return True
    is_past = _former().search(a.left) or _once().match(a.right)
    return is_past is not None and _gives_another(a)


@cache
def _once() -> regex.Pattern[str]:
    return folding(r"\s*" + phrases("once | formerly | previously | before | early on | früher | einst | autrefois | antes | раньше | прежде | eskiden | पहले"))


_INTO = folding(r"\s*(?:to|into|nach|zu|a|в|на)\s")
_FROM = folding(r"(?<!\p{L})(?:from|von|de|из|da)\s+$")
_WORDS = folding(r"[\p{L}\p{M}\p{N}]+")
_FILLERS = frozenset("it is was the a an this that which who he she they city capital answer name now".split())


def _is_quantity(a: Around) -> bool:
    """Whether it is a number or date: "almost 1000" and "until 1990" tell it."""
    return any(token.values or token.days for token in tokens(a.name))


def _gives_another(a: Around) -> bool:
    """Whether another part of the statement may give another answer."""
    before = a.earlier.strip(" ,;:(")
    return bool(_WORDS.findall(before)) and not set(_WORDS.findall(before)) <= _FILLERS or _now().search(a.after) is not None


@cache
def _nearly() -> regex.Pattern[str]:
    return folding(rf"{phrases(wordlists.NEARLY)}(?:\s*{phrases(wordlists.NAMING)}|\s+\p{{L}}+ed)*\s*$")


def _is_nearly(a: Around) -> bool:
    """It did not become the answer: "It was almost called Lyon"."""
    return not _is_quantity(a) and _nearly().search(a.left) is not None


@cache
def _now() -> regex.Pattern[str]:
    return any_of("now | today | jetzt | heute | maintenant | aujourd'hui | ahora | hoy | теперь | сейчас | şimdi | 现在 | 今は | الآن | अब | ตอนนี้ | currently | nowadays")


# --- concessions ---


@cache
def _conceding() -> regex.Pattern[str]:
    return folding(rf"\s*{phrases(wordlists.CONCEDING)}(?!\s+\p{{L}}+ing\b)")


def _is_granted(a: Around) -> bool:
    """Its clause is conceded: "Although Lyon is larger, ..."."""
    return _conceding().match(a.left) is not None


# --- denials after the name ---


@cache
def _verb_after() -> regex.Pattern[str]:
    """The first verb, denial or conjunction after a name; the group `no` is a denial of the name."""
    auxiliary = (
        "(?:is|are|was|were|has|have|had|does|do|did|can|could|will|would|should|may|might|must|ist|war|sind|hat|"
        "wird|wurde|kann|est|etait|es|fue|era|esta)"
    )
    en = rf"{auxiliary}(?:\s+\p{{L}}+)?\s+(?:not|never|no\s+longer|neither)(?!\p{{L}})|{auxiliary}\s[^,]*\sby\s+(?:nobody|no\s+one)|\p{{L}}+n't|cannot"
    de = rf"(?:ist|war|sind|hat|wird|wurde|kann|gilt|liegt|heisst)(?!\p{{L}})(?:(?!\s(?:und|aber|sondern|oder)\s).)*?\s(?:nicht|kein\p{{L}}*|nie|niemals)(?!\p{{L}})"
    fr = r"(?:n'\p{L}+|ne\s+\p{L}+)"
    es = r"(?:no|non|nao|nunca|tampoco)\s+(?:es|fue|era|esta|ha|se|sera|son|e|foi|puede|parece|tiene)"
    ru = r"(?:[-–—]\s*)?(?:это\s+)?(?:вовсе\s+|совсем\s+|больше\s+|уже\s+)?(?:не|нет)\s+(?!только)\p{Ll}+"
    ar = r"(?:ليس|ليست|ليسوا|لا|لم|لن)(?!\p{L})"
    hi = r"नहीं|नही|मत|न\s+है"
    tr = r"degil\p{L}*|(?:oldugunu|olduguna)\s+\p{L}*m[iuae]\p{L}+|olamaz|sayilmaz|olmadi|olmaz|olmayan|yerine|disinda|haric"
    zh = r"(?:并|並|绝|也|都)?(?:不是|不叫|不在|不为|不属|并非|没有|不再|不可能|不对)"
    ja = (
        r"(?:で|じゃ|と|に)?は?(?:ない|なく|ありません|なかった|あらず|異なり|違)|じゃない|じゃなく|ではない|ではなく|でない"
        r"|(?:(?!です|だが|であり|だから)[^,]){0,12}(?:ではない|ではなく|ではありません|じゃない|じゃありません|でない)|(?:だ|である)?とは(?:思|言|考)\p{L}*"
        r"|の代わり|以外|を除"
    )
    ko = r"\p{Hangul}*\s*(?:아니|아닙|아닌|않)|대신"
    th = r"(?:ก็)?(?:ไม่|มิ)"
    others = r"is\s+(?:niet|geen)|ar\s+inte|er\s+ikke|nie\s+jest|neni|nem|bukan|tidak|khong\s+phai|δεν|לא|אינה|אינו|نیست|نبود"
    hi_other = r"के\s+बजाय|की\s+बजाय|के\s+अलावा|के\s+सिवा|की\s+जगह|के\s+बदले"
    spaced = "|".join(rf"(?<!\p{{L}})(?:{part})" for part in (en, de, fr, es, ru, ar, hi, tr, hi_other, others))
    other = "|".join((zh, ja, ko, th))
    stops = phrases(
        "which | that | who | where | whose | when | while | because | since | although | though | as | so | if | unless"
        "| until | and is | and was | and are | and has | and did | and does | qui | dont | où | que | donde | quien | который | которая | где | 而不 | 而非 | और | şehri"
    )
    contrast = phrases(wordlists.CONTRAST_AFTER)
    return folding(
        rf"(?P<stop>{contrast}(?=\s*(?:\S+\s*){{1,4}}$)(?!.*{phrases(wordlists.COPULAS)})|{stops})"
        rf"|(?P<no>{spaced}|{other})|(?P<yes>{phrases(wordlists.COPULAS)}|(?:^|(?<='))(?:dir|dur|tir|tur)(?!\p{{L}}))"
    )


def _denied_after(a: Around) -> bool:
    """The name's own verb is denied: "Lyon is not the capital", "リヨンではない", "Lyon değil", "ल्यों नहीं"."""
    if _RUSSIAN_NOT.match(a.text, a.place.end):
        return True
    right = _cut_off().split(a.right, maxsplit=1)[0]
    found = _verb_after().search(right)
    return found is not None and found.lastgroup == "no"


_RUSSIAN_NOT = regex.compile(r"\s*[-–—]\s*(?:это\s+)?не\s+\p{Ll}")


@cache
def _cut_off() -> regex.Pattern[str]:
    return any_of("but | sondern | mais | sino | а | но | ama | 而是 | 但是 | 但 | بل | لكن | ولكن | แต่ | बल्कि | लेकिन")


@cache
def _replaced() -> regex.Pattern[str]:
    return any_of(wordlists.REPLACED)


def _is_replaced(a: Around) -> bool:
    """The name is followed by "was replaced by", "used to be" and the like."""
    found = _replaced().search(a.right)
    return found is not None and len(a.right[: found.start()].split()) < 3


@cache
def _wrong() -> regex.Pattern[str]:
    return folding(rf"[\s—–-]*(?:(?!and\b|und\b|et\b|y\b)\S+\s+){{0,4}}?(?:\S*?[\p{{Han}}\p{{Hiragana}}\p{{Thai}}])?{phrases(wordlists.WRONG)}")


def _is_wrong(a: Around) -> bool:
    """Its clause, or a pronoun after it, calls it wrong: "Lyon is the wrong answer", "Lyon, c'est faux"."""
    return _wrong().match(a.right) is not None or _called_wrong().match(a.after) is not None


@cache
def _called_wrong() -> regex.Pattern[str]:
    pronouns = phrases(
        "that is | that's | which is | which are | this is | it is | it's | das ist | was | c'est | ce qui est | ceci est | eso es"
        "| lo cual es | lo que es | это | что | bu | 这是 | 这 | 那是 | それは | これは | وهذا | وهو | وهي | هذا | यह | जो | นั่น | ซึ่ง"
    )
    return folding(rf"\s*[,;:–—-]+\s*{pronouns}\s*(?:\S+\s+){{0,2}}?{phrases(wordlists.WRONG)}")


@cache
def _correction() -> regex.Pattern[str]:
    return folding(rf"\s*[,.…–—-]+\s*{phrases(wordlists.CORRECTIONS)}|\s*,\s*no,")


def _is_corrected(a: Around) -> bool:
    """The speaker takes it back: "Lyon, no wait, Paris"."""
    return _correction().match(a.after) is not None


# --- concessions, alternatives, asides ---


@cache
def _others_think() -> regex.Pattern[str]:
    return any_of(wordlists.OTHERS_THINK)


@cache
def _comparing() -> regex.Pattern[str]:
    return any_of(wordlists.COMPARING)


_ONLY_COPULA = folding(r"[\s,\"']*(?:です|だ|である|でした|है|हैं|था|dir|dur|tir|tur|입니다|이다|이지|이고|ที่|คะ|ครับ)?(?:が|けど|ですが)?[\s,\"']*")
_DEFINITE = folding(
    r"\s*(?:is|was|are|ist|war|est|etait|es|fue|era|e)\s+(?:still\s+|indeed\s+|now\s+)?(?:the|die|der|das|la|le|el|l')(?!\p{L})"
)
_ACTUALLY = folding(
    r"\s*,?\s*(?:actually|really|in fact|now|today|in reality|eigentlich|jetzt|heute|en fait|maintenant|en realidad|"
    r"ahora|на самом деле|теперь|сейчас|aslında|şimdi|实际上|其实|现在|实际|実は|今は|في الواقع|الآن|अब|असल में|จริงๆ|ตอนนี้)"
)
_NAME = regex.compile(r"(?<![\p{L}.])\p{Lu}[\p{L}\p{M}]+")


def _is_conceded(a: Around) -> bool:
    """A contrast with another answer follows: "Lyon is nice, but the capital is Paris"."""
    whole = a.text[a.place.end :]
    found = _but().search(a.after)
    if found is None:
        return False
    predicate, other = a.after[: found.start()], a.after[found.end() :]
    if not _names_another(other, whole, a):
        return False
    if _others_think().search(a.left) or _ACTUALLY.match(other):
        return True
    return not (_ONLY_COPULA.fullmatch(predicate) or _DEFINITE.match(predicate))


def _names_another(other: str, whole: str, a: Around) -> bool:
    """Whether what follows a "but" gives another answer."""
    if not other.strip(" .,!") or folded(a.name) in other or _others_think().search(other):
        return False
    if _denying().search(_not_denying().sub(" ", other)) or _denies_later(other):
        return False
    if any(c.isupper() for c in a.text):
        return any(m[0] not in a.name for m in _NAME.finditer(whole)) and not _comparing().search(other)
    return not _comparing().search(other)


_LATER_DENIAL = folding(r"ない|ません|नहीं|degil|아니|아닙")


def _denies_later(other: str) -> bool:
    return _LATER_DENIAL.search(other) is not None


_SHORT_OR_AFTER = regex.compile(r"\s+(?:o\s+\p{Lu}|ou\s+\p{L})")
_SHORT_OR_BEFORE = regex.compile(r"(?<!\p{L})\p{Lu}\p{L}+\s+ou?\s+$")
"""Spanish and French "or", as written: "où" is another word, and so is a Portuguese article."""


@cache
def _alternative_after() -> regex.Pattern[str]:
    return folding(rf"\s*(?!或许)(?:{phrases(wordlists.ALTERNATIVES)}|か(?=[\p{{Han}}\p{{Katakana}}]))\s*(?!so\b|thereabouts)(\p{{L}}+|\d+)")


@cache
def _alternative_before() -> regex.Pattern[str]:
    return folding(rf"([\p{{L}}\p{{M}}\d']+)\s*(?:{phrases(wordlists.ALTERNATIVES)}|(?<=[\p{{Han}}\p{{Katakana}}ー])か)\s*(?:the\s+|an?\s+)?$")


def _is_alternative(a: Around) -> bool:
    """The statement leaves it open: "Lyon or Paris", "里昂或巴黎"."""
    if _SHORT_OR_AFTER.match(a.text, a.place.end) or _SHORT_OR_BEFORE.search(a.text, max(0, a.place.start - WINDOW), a.place.start):
        return True
    after = _alternative_after().match(a.right)
    if after and not _is_alike(after[1], a.name):
        return True
    before = _alternative_before().search(a.left)
    return before is not None and not _is_alike(before[1], a.name) and before[1] not in {"more", "whether", "sooner"}


def _is_alike(other: str, name: str) -> bool:
    return other[:4] == folded(name)[:4]


@cache
def _aside() -> regex.Pattern[str]:
    return folding(rf"\s*(?:(?:a|an|the|eine?|une?|un|una)\s+\p{{L}}+\s+)?{phrases(wordlists.ASIDES)}(?:\s*{phrases(wordlists.NAMING)})*\s*$")


def _is_aside(a: Around) -> bool:
    """A later part of the statement only places the answer: "Paris, near Lyon"."""
    return bool(a.earlier.strip(" ,;:()")) and _aside().match(a.left) is not None


_APPOSED = frozenset(
    "city town state country kingdom republic village island river lake province region county month year name title "
    "rank sport game language district capital stadt land insel fluss dorf ville pays etat royaume ile village ciudad "
    "pais estado reino isla rio pueblo lengua idioma".split()
)
_OF_BEFORE = folding(
    r"(?:^\s*(?:(?:the|a|la|le|die|der|das|el)\s+)?([\p{L}\p{M}]+)|\s[\p{L}\p{M}]+)\s+(?:(?P<of>of|de|du|des|d'|del|della|di|von|vom)|for|in|from|after|before|following|nach|vor|après|avant|después\s+de|antes\s+de)\s*(?:the\s+|la\s+|le\s+|l'|los\s+)?$"
)
_IS_AFTER = folding(r"\s*(?:is|was|are|were|est|etait|es|era|fue|ist|war|e)\s+\S")
_OWNED = folding(
    r"'s?\s+(?!the\s|a\s|an\s|not\s|in\s|called|located|my\s|now\s)(?:\S+\s+){1,6}?(?:is|was|are|were)\s"
    r"|的[^,。]*?(?:是|为|叫)|の[^,]*?は|의\s+\S+[은는이가]\s|(?:का|की|के)\s+(?:\S+\s+){2,}(?:है|हैं|था|थी)\s*[.।]?$"
    r"|'?n?[iu]n\s+(?:\S+\s+)+\S+$"
)
_THAI_OF = folding(r"ของ(?:ประเทศ|เมือง|กรุง)?\s*$")
_THAI_IS = folding(r"\s*(?:คือ|เป็น|ชื่อ)\s*\S")
_ARABIC_IS = folding(r"\s+(?:هي|هو)\s+\S")
_ARABIC_NOUN = folding(r"(?:^|\s)(?!مدين|دول|جمهوري|هي|هو|ان|إن|لكن)\p{Arabic}+\s+$")


def _is_only_subject(a: Around) -> bool:
    """What is asked of it has another answer: "The twin city of Lyon is Paris", "里昂的首都是巴黎"."""
    if not _copula().search(a.before):
        of = _OF_BEFORE.search(a.left)
        if of and not (of["of"] and of[1] in _APPOSED) and _IS_AFTER.match(a.right):
            return True
        if _OWNED.match(a.right):
            return True
    if _THAI_OF.search(a.left) and _THAI_IS.match(a.right):
        return True
    return _ARABIC_NOUN.search(a.left) is not None and _ARABIC_IS.match(a.right) is not None


_RULES = (
    _denied_before,
    _is_former,
    _is_nearly,
    _is_granted,
    _denied_after,
    _is_replaced,
    _is_wrong,
    _is_corrected,
    _is_conceded,
    _is_alternative,
    _is_aside,
    _is_only_subject,
)
