"""Whether an answer says that it does not know."""

from __future__ import annotations

from functools import cache, lru_cache

import regex

from ketools.core.phrases import any_of, folded, folding
from ketools.core.sentences import first_statement
from ketools.knowledge.matching.statements import spoken

_UNKNOWN = """
unknown | not known | n/a | not available | not applicable | no idea | no information | no data | no answer | undetermined
unbekannt | nicht bekannt | keine ahnung | keine angabe | keine angaben | keine information | keine antwort
inconnu | inconnue | pas connu | aucune idée | aucune information | non connu | non disponible
desconocido | desconocida | no se sabe | ni idea | no disponible | sin información | sconosciuto | desconhecido
неизвестно | неизвестен | неизвестна | не известно | понятия не имею | нет данных | нет информации | без понятия
bilinmiyor | bilinmeyen | bilinmemektedir | hiçbir fikrim yok | fikrim yok | bilgi yok | belirsiz
未知 | 不详 | 不明 | 不清楚 | 不知道 | 不知 | 无可奉告 | 没有信息 | 暂无信息 | 不晓得 | 无从得知 | 不得而知
不明 | 不明です | わかりません | 分かりません | 知りません | 存じません | わからない | 分からない | 知らない | 不詳 | 情報なし
غير معروف | غير معروفة | مجهول | مجهولة | لا أعرف | لا أعلم | لا أدري | لا فكرة لدي | لا توجد معلومات | لست متأكدا
अज्ञात | पता नहीं | मालूम नहीं | नहीं पता | ज्ञात नहीं | कोई जानकारी नहीं | जानकारी नहीं | जानकारी उपलब्ध नहीं
ไม่ทราบ | ไม่รู้ | ไม่มีข้อมูล | ไม่แน่ใจ | ไม่เป็นที่รู้จัก | ไม่เป็นที่ทราบ
모릅니다 | 모르겠습니다 | 몰라요 | 모르겠어요 | 알 수 없습니다 | 알려지지 않았습니다
onbekend | ik weet het niet | geen idee | okänd | nieznany | ukjent | ukendt
"""
"""The whole statement, or what a copula says of its subject."""

_LEAD = (
    r"(?:(?:sorry|i'm sorry|i am sorry|i apologi[sz]e|my apologies|unfortunately|regrettably|honestly|well|hmm+|um|as an? "
    r"(?:large )?(?:ai|language|artificial)[^,.]*|es tut mir leid|tut mir leid|leider|entschuldigung|desole[e]?|"
    r"je suis desole[e]?|malheureusement|lo siento|perdon|disculpa\p{L}*|lamentablemente|desafortunadamente|"
    r"к сожалению|извините|простите|жаль|uzgunum|maalesef|ne yazık ki|抱歉|对不起|很抱歉|非常抱歉|不好意思|很遗憾|遗憾的是|"
    r"すみません(?:が)?|申し訳(?:ありません|ございません)(?:が)?|残念ながら|残念ですが|ごめんなさい|عذرا|اسف|انا اسف|للاسف|मुझे खेद है|"
    r"माफ कीजिए|क्षमा करें|खेद है|ขอโทษ(?:ครับ|ค่ะ)?|ขออภัย(?:ครับ|ค่ะ)?|น่าเสียดาย|죄송합니다|죄송하지만|미안합니다)"
    r"[\s,.!:–—-]*(?:but|aber|mais|pero|но|ama|但|लेकिन|แต่|ولكن|لكن)?[\s,]*)*"
)
"""Apologies and the like in front of a refusal."""

_WHO = r"(?:i|we|i myself|this model|the model|my knowledge|my training data|my database)"
_MUCH = r"(?:\s+(?:really|honestly|actually|simply|just|currently|personally|yet|at all|even|presently|still|quite|also|for certain))*"
_REFUSING = (
    # English
    rf"{_WHO}{_MUCH}\s+(?:do not|don't|dont|does not|doesn't|did not|didn't|cannot|can't|can not|could not|couldn't|am not|'m not|are not|"
    rf"would not|wouldn't|won't|will not|lack|have no|had no|am unable|'m unable|am unsure|'m unsure|am uncertain|am unaware|"
    rf"am not able|forgot|have forgotten|have never heard|haven't heard|have not heard|haven't got|never heard|refuse|decline|must decline)"
    rf"(?!\p{{L}}){_MUCH}",
    r"i'm\s+(?:not|unable|unsure|uncertain|unaware|afraid (?:i|that i|not))",
    r"(?:it|that|this|the answer|the [^,.]{1,60}?|his [^,.]{1,40}?|her [^,.]{1,40}?|their [^,.]{1,40}?|its [^,.]{1,40}?)\s*(?:'s|is|are|was|remains|remain)"
    r"\s+(?:currently |still |presently |officially |generally )?(?:unknown|not known|unclear|uncertain|undisclosed|not available|unavailable|"
    r"not (?:publicly )?(?:known|disclosed|available)|anyone's guess|a mystery|confidential|not something i (?:know|can))(?!\s+(?:for|as|to|in|by)\b)",
    r"(?:there is|there's|there are|i see|i find)\s+no\s+(?:[\p{L}]+\s+){0,3}?(?:information|data|record|records|answer|evidence|details)",
    r"(?:no one|nobody|no-one)\s+(?:really |actually )?knows",
    r"(?:no|not enough|insufficient|lack of)\s+(?:[\p{L}]+\s+)?(?:information|data|knowledge)",
    r"not\s+(?:sure|certain|aware)(?!\p{L})", r"unsure", r"beats me", r"(?:your guess|who knows)", r"(?:i )?dunno", r"don't know", r"do not know",
    r"(?:that|this|it)\s+(?:information\s+|data\s+)?(?:is|'s)\s+(?:beyond|outside)\s+(?:my|the scope)", r"i wish i knew", r"cannot (?:say|tell|answer|provide)",
    r"can't (?:say|tell|answer|provide)", r"unable to (?:say|tell|answer|provide|find|determine)", r"hard to say", r"impossible to say",
    # German
    r"(?:das |es |leider )*(?:weiss|kenne|kann|habe|besitze|bin|konnte|mochte|darf)\s+(?:ich|wir)\s+(?:[\p{L}]+\s+){0,6}?(?:nicht|kein\p{L}*|unsicher|uberfragt)",
    r"(?:ich|wir)\s+(?:weiss|wissen|kenne|kann|habe|haben|besitze|bin|konnte|mochte|darf)\s+(?:[\p{L}]+\s+){0,6}?(?:nicht|kein\p{L}*|unsicher|uberfragt)",
    r"(?:niemand weiss|dazu habe ich|daruber habe ich|mir (?:ist|liegen|liegt|fehlt|fehlen)|weiss (?:ich )?nicht|(?:es|das|die [^,.]{1,60}|der [^,.]{1,60}) ist (?:mir )?(?:nicht bekannt|unbekannt))",
    # French
    r"(?:je|nous|on)\s+(?:ne\s+|n'\s*)(?:le |la |l'|les |vous |peux |en |y )*(?:sais|connais|savons|suis|peux|dispose|ai|possede|peut|sait|pourrais)(?!\p{L})",
    r"(?:je|nous|on)\s+(?:le |la |l'|vous )?(?:sais|connais|suis|peux|ai)\s+(?:[\p{L}]+\s+)?pas(?!\p{L})",
    r"(?:j'|je l'|je )ignore", r"(?:aucune idee|personne ne sait|cela m'est inconnu|il n'y a (?:pas|aucune) (?:d')?(?:information|reponse)|c'est inconnu|ce n'est pas connu|(?:l[ae]|cette) [^,.]{1,60} est inconnue?)",
    # Spanish, Italian, Portuguese
    r"(?:yo |eu |io |nosotros )?(?:no|nao|non)\s+(?:lo |la |le |se |me |o |te )*(?:se|sabemos|conozco|tengo|puedo|estoy|dispongo|recuerdo|poseo|sabria|podria|sei|tenho|posso|estou|so|ho|conosco|sono|sabe|conheco|disponho|hay|cuento)(?!\p{L})",
    r"(?:desconozco|lo desconozco|lo ignoro|ignoro|nadie (?:lo )?sabe|(?:es|se) desconoce|se desconoce|es desconocid[oa]|desconheco|ni idea|(?:el|la) [^,.]{1,60} es desconocid[oa])",
    # Russian
    r"(?:я |мы |мне |у меня |у нас )?(?:[\p{L}]+\s+)?(?:не\s+(?:знаю|знаем|уверен\p{L}*|могу|можем|известн\p{L}*|имею|располагаю|помню|в курсе|владею|обладаю|ведаю|смогу)|нет (?:информации|данных|ответа|сведений|такой информации|этой информации))",
    r"(?:никто не знает|(?:это|ответ)[^,.]{0,40} неизвест\p{L}*|затрудняюсь ответить|понятия не имею|мне (?:это )?неизвестно|трудно сказать)",
    # Turkish
    r"[^,.]{0,60}?(?:bilmiyor\p{L}*|bilmem|emin degil\p{L}*|bilgim yok|bilgiye sahip degil\p{L}*|bilgi(?:m|miz)? (?:bulunmuyor|bulunmamaktadir|yok|mevcut degil)|bilemiyor\p{L}*|bilemem|fikrim yok|haberim yok|cevaplayam\p{L}*|yanitlayam\p{L}*|soyleyem\p{L}*|kimse bilmiyor|bilinmiyor|bilinmemekte\p{L}*)",
    # Chinese
    r"(?:我|我们|本人)?[^,.]{0,8}?(?:不(?:太|大|是很|很)?(?:知道|清楚|确定|了解|晓得|能确定|敢肯定|记得|能提供|能回答|便透露)|无法(?:回答|提供|确定|确认|得知|告知|告诉|知道)|没有(?:[^,.]{0,8})?(?:信息|资料|数据|答案|记录)|没听说过|没有听说过|未曾听说)",
    r"(?:没有人知道|无人知晓|没人知道|这(?:个|一)?[^,.]{0,12}(?:未知|不详|不得而知)|[^,.]{1,20}(?:是未知的|未知|不详|尚不清楚|不得而知)$)",
    # Japanese
    r"[^.]{0,40}?(?:(?:わか|分か|判)(?:りません|らない|りかね\p{L}*)|知りません|知らない|存じ(?:ません|上げません|ない)|情報(?:は|が)?(?:ありません|ない|持って(?:いません|いない|おりません)|ございません)|お答え(?:できません|できない|しかね\p{L}*)|答え(?:られません|られない)|自信(?:が|は)?(?:ありません|ない)|確信(?:が|は)?(?:ありません|持てません|ない)|不明(?:です|である|だ)?$|知られていません|覚えて(?:いません|いない))",
    # Arabic
    r"(?:انا )?(?:لا|لم|لن)\s+(?:اعرف|اعلم|ادري|املك|استطيع|نعرف|نعلم|يمكنني|امتلك|توجد|تتوفر|يوجد|يعرف|يعلم|اتذكر|تتوافر|نملك)",
    r"(?:لست|لسنا)\s+(?:متاكد\p{L}*|علي|واثق\p{L}*)", r"(?:ليس|ليست)\s+(?:لدي|عندي|لدينا|معروف\p{L}*|بامكاني|معلوم\p{L}*)", r"[^,.]{0,40}(?:غير معروف\p{L}*|مجهول\p{L}*|غير معلوم\p{L}*)(?!\s+ب)",
    # Hindi
    r"[^,.]{0,60}?(?:(?:नहीं|नही)\s+(?:पता|जानता|जानती|जानते|मालूम|पता|बता सक\S*|कह सक\S*|दे सक\S*)|(?:पता|मालूम|ज्ञात|जानकारी|यकीन|यकीन|निश्चित|सूचना)\s+(?:\S+\s+)?(?:नहीं|नही)|(?:नहीं|नही)\s+है\s+जानकारी|अज्ञात\s+(?:है|हैं))",
    # Thai
    r"[^,.]{0,30}?ไม่(?:ทราบ|รู้|แน่ใจ|มั่นใจ|มีข้อมูล|สามารถ(?:ให้|บอก|ตอบ|ระบุ|ยืนยัน)|มีใครรู้|เป็นที่ทราบ|มีคำตอบ)",
    # Korean
    r"[^,.]{0,30}?(?:모르\p{L}*|모릅니다|몰라\p{L}*|알 수 없\p{L}*|알지 못\p{L}*|정보가 없\p{L}*|확실하지 않\p{L}*|잘 모\p{L}*)",
)

_KNOWING = folding(
    r"(?:know|sure|certain|aware|have|recall|remember|unable|provide|answer|say|tell|information|share|access|find|determine|confirm|"
    r"heard|lack|disclose|discuss|reveal|help|forgot|forgotten|uncertain|unsure|unaware|verify|identify|comment|give|familiar|refuse|decline|possess|think i)"
)
"""What an English "I do not ..." must be about."""

_BUT_ANSWERS = (
    r"(?:[,;.…–—-]+|\s)\s*(?:but|however|though|although|maybe|perhaps|probably|possibly|aber|vielleicht|mais|peut-etre|pero|quiza\p{L}*|tal vez|но|может|"
    r"возможно|наверное|ama|fakat|belki|但|但是|不过|可能|也许|でも|たぶん|おそらく|لكن|ولكن|ربما|लेकिन|शायद|पर|แต่|อาจ|i think|i believe|i guess|i'd say|my guess)"
)
_GUESS = (
    r"(?:i think|i believe|i guess|i suspect|i'd say|i would say|i would guess|my (?:best )?guess|maybe|perhaps|probably|possibly|"
    r"(?:it|he|she|that|this|they|the [^,.]{1,40}) (?:is|was|are|might|may|could|should|must)|it's|"
    r"ich (?:glaube|denke|vermute|meine)|vielleicht|vermutlich|wahrscheinlich|(?:es|er|sie|die [^,.]{1,40}) (?:ist|war|konnte)|"
    r"je (?:crois|pense)|peut-etre|probablement|c'est|(?:il|elle) (?:est|s'agit)|creo|pienso|quiza\p{L}*|tal vez|probablemente|(?:es|seria) |"
    r"думаю|кажется|возможно|наверное|может быть|вероятно|это |sanirim|belki|galiba|muhtemelen|我(?:想|认为|觉得|猜)|可能|也许|应该|大概|是|"
    r"たぶん|おそらく|と思います|思う|でしょう|اعتقد|اظن|ربما|قد تكون|शायद|मुझे लगता|संभवतः|है|คิดว่า|น่าจะ|อาจ|คงจะ)"
)
_STILL_REFUSING = folding(r"(?:help|suggest|recommend|look|search|check|ask|assist|provide more|try|else|find out|consult|other)")


@cache
def _unknown() -> regex.Pattern[str]:
    return any_of(_UNKNOWN)


@cache
def _refusing() -> regex.Pattern[str]:
    return folding(rf"{_LEAD}(?:{'|'.join(_REFUSING)})")


@cache
def _answers_after() -> regex.Pattern[str]:
    return folding(rf"{_BUT_ANSWERS}(?P<rest>.*)$")


@cache
def _guess() -> regex.Pattern[str]:
    return folding(_GUESS)


_EDGES = " \n\t.!?,;:-\"'()*_`。！？"
_ENGLISH_VERB = folding(r"(?:don't|dont|do not|does not|doesn't|did not|didn't|cannot|can't|can not|could not|couldn't|not|no)$")


@lru_cache(maxsize=8192)
def refuses(answer: str) -> bool:
    """Whether an answer says that it does not know, or may not tell, and gives no answer after all."""
    statement = folded(spoken(answer)).strip(_EDGES)
    if not statement:
        return False
    if _unknown().fullmatch(statement) or _is_refusal(statement):
        return True
    first = first_statement(answer)
    rest = answer.strip()[len(first) :].strip()
    return bool(rest) and _is_apology(first) and refuses(rest)


@cache
def _apology() -> regex.Pattern[str]:
    return folding(_LEAD)


def _is_apology(statement: str) -> bool:
    return bool(statement) and _apology().fullmatch(folded(statement).strip(_EDGES)) is not None


def _is_refusal(statement: str) -> bool:
    found = _refusing().match(statement)
    if found is None or not _is_about_knowing(found[0], statement[found.end() :]):
        return False
    return not _guesses(statement[found.end() :])


def _is_about_knowing(refusal: str, rest: str) -> bool:
    """Whether a negated English verb is one of knowing or telling ("I do not like tea" refuses nothing)."""
    if not _NEGATED_I.match(refusal):
        return True
    clause = _CLAUSE_END.split(rest, maxsplit=1)[0]
    return _KNOWING.search(refusal + clause) is not None


_CLAUSE_END = folding(r"[,;.]")
_NEGATED_I = folding(rf".*?{_WHO}(?:\s|')")


def _guesses(rest: str) -> bool:
    """Whether an answer follows all the same: "I'm not sure, but I think it is Lyon"."""
    found = _answers_after().search(rest)
    if found is None:
        return False
    told = found[0]
    return _guess().search(told) is not None and not (_refusing().match(found["rest"].strip(" ,")) or _STILL_REFUSING.search(told))
