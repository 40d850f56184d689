"""Words and phrases by which languages deny, contrast, concede and set aside, `|` or a line break between them.

Written as the languages spell them; `ketools.core.phrases` folds them. Order: English, German,
French, Spanish, Italian and Portuguese, Russian, Turkish, Chinese, Japanese, Arabic, Hindi, Thai, Korean, others.
"""

from __future__ import annotations

NOT_DENYING = """
not only | not just | not merely | not simply | not solely | no doubt | without doubt | without a doubt | no question
none other than | no other than | nothing but | nothing other than | nothing less than | not surprisingly | undoubtedly
not to be outdone | not to mention | why not | whether or not | if not | no less than | not far from the truth
no denying | cannot be denied | can't be denied | can't be anything but | couldn't be anything but | no. | nos. | no one but
nicht nur | nicht bloß | kein anderer als | keine andere als | nichts anderes als | ohne zweifel | kein zweifel
keine anderen als | zweifellos
pas seulement | non seulement | sans doute | sans aucun doute | aucun doute | n'est autre que | nul autre que | n'est que
pas de calais | pas-de-calais | non loin
no solo | no sólo | no solamente | sin duda | no hay duda | ninguna duda | no es otro que | no es otra que | nada menos que
non solo | não só | não apenas | sem dúvida | senza dubbio
не только | не просто | не что иное как | не кто иной как | никто иной как | без сомнения | несомненно | нет сомнений
не иначе как | не менее | ни много ни мало
sadece değil | yalnızca değil | şüphesiz | başkası değil
不仅 | 不僅 | 不但 | 不只 | 不光 | 不单 | 毫无疑问 | 无疑 | 无可否认 | 不得不 | 差不多 | 不愧 | 没错 | 沒錯 | 不错 | 不同 | 不少
不久 | 不断 | 不丹 | 不列颠 | 不列顛 | 不来梅 | 不萊梅 | 不锈钢 | 不朽 | 不论 | 不管 | 不难
しかない | しかありません | だけでなく | のみならず | だけではなく | 間違いなく | 他ならない | ほかならない | に違いない
間違いありません | 間違いない | に違いありません | 他なりません
لا شك | بلا شك | دون شك | ليس فقط | لا يزال | لا تزال | ليس سوى | ليست سوى | لا زال | لا زالت | ليس إلا | ليست إلا | ما زالت | ما زال
न केवल | न सिर्फ | निस्संदेह | कोई शक नहीं | कोई संदेह नहीं | सिर्फ नहीं | केवल नहीं | के अलावा और कोई नहीं
ไม่เพียง | ไม่ต้องสงสัย | ไม่ใช่แค่ | ไม่ใช่เพียง | ไม่เพียงแต่ | ไม่แพ้ | ไม่น้อย | ไม่กี่ | ไม่นาน
뿐만 아니라 | 틀림없이 | 다름 아닌
"""
"""Phrases that hold a denying word and deny nothing; they are taken out first."""

DENYING = """
not | never | neither | nor | *n't | cannot | cant | isnt | wasnt | arent | doesnt | dont | didnt | no | no longer | nobody
no one | none of | in no way | by no means | hardly | scarcely | nothing to do with | far from being | no way
anything but | other than | instead of | rather than | as opposed to | unlike | except | except for | apart from | aside from
besides | confused with | mistaken for | different from | different than | distinct from | false that | wrong that
untrue that | incorrect that | unlikely that | unlikely to be | doubt | doubtful | deny | denies | denied | reject | rejects
rejected | too early to say | stop saying | not even | ceased to be | stopped being | used to be | without | wrong to
incorrect to | false to | a mistake to | untrue to | inaccurate to | if | whether | falsely | incorrectly | mistakenly
erroneously | wrongly | the wrong answer is | wrong answers are
nicht | kein | keine | keinen | keinem | keiner | keines | nie | niemals | weder | keineswegs | keinesfalls | niemand
anstatt | statt | anstelle von | anstelle | außer | bezweifle | bezweifeln | ob | fälschlich* | irrtümlich* | falsch zu
im gegensatz zu | im unterschied zu | abgesehen von
pas | ne | jamais | ni | non | aucun | aucune | nullement | au lieu de | au lieu d'* | plutôt que | plutôt qu'* | sauf
excepté | hormis | à part | contrairement à | personne ne | doute | à la place de | à tort | erronément
nunca | jamás | tampoco | nadie | ningún | ninguna | en lugar de | en vez de | excepto | salvo | a diferencia de
aparte de | dudo | dejó de ser | por error | erróneamente
né | mai stato | invece di | piuttosto che | tranne | a differenza di | nessuno
não | nem | em vez de | ao invés de | exceto | ao contrário de | ninguém
не | ни | нет | никогда | никак | никто | вместо | кроме | в отличие от | отнюдь не | вряд ли | едва ли | помимо
сомневаюсь | неверно что | неправда что | неправильно называть | ошибочно | по ошибке
hiç kimse | asla | kimse | yanlışlıkla
不 | 没有 | 沒有 | 並非 | 并非 | 绝非 | 絕非 | 而非 | 既非 | 从未 | 未必 | 未曾 | 否认 | 除了 | 而不是 | 与其 | 別说 | 别说 | 误认为 | 误以为 | 误称
ليس | ليست | ليسوا | لا | لم | لن | ما كانت | ما كان | غير | بدلا من | بدلاً من | عدا | باستثناء | سوى | بخلاف | خلافا ل*
على عكس | أشك | من الخطأ | عوضا عن | بالخطأ
न तो | नहीं लगता | नहीं मानता | नहीं मानते | यह सच नहीं | नहीं है कि | गलती से
ไม่ | มิใช่ | หาใช่ | แทนที่จะเป็น | แทนที่ | ยกเว้น | นอกจาก | ต่างจาก | ถ้า
안
niet | geen | nooit | in plaats van | behalve | inte | icke | aldrig | ikke | nie jest | nigdy | zamiast
není | nejsou | nikdy | bukan | tidak | không | δεν | όχι | ποτέ | nem | לא | אינה | אינו | אין | איננה
نه | به جای
"""
"""Before what they deny, to the end of the clause; conditions are among them."""

CONCEDING = """
although | though | even though | whereas | despite | albeit | even if | while
obwohl | obgleich | zwar | wenn auch | bien que | bien qu'* | quoique | même si | malgré | aunque | si bien | a pesar de que
sebbene | anche se | embora | apesar de | хотя | несмотря на | her ne kadar | rağmen | 虽然 | 雖然 | 尽管 | 儘管 | 即使 | 就算
رغم | رغم أن | مع أن | على الرغم | यद्यपि | हालांकि | हालाँकि | भले ही | แม้ | แม้ว่า | ถึงแม้ | ถึงแม้ว่า | 비록
"""
"""At the beginning of a clause that is conceded."""

FORMERLY = """
formerly | previously | once | earlier | originally | before that | until then | ex- | ex | until recently | back then
the former | historically | in the past
früher | ehemals | vormals | einst | zuvor | vorher | ursprünglich | bis dahin
autrefois | anciennement | jadis | auparavant | à l'origine | précédemment | avant
antes | anteriormente | antiguamente | originalmente | previamente | antaño | otrora | precedentemente | un tempo | outrora
раньше | ранее | прежде | бывший | бывшая | бывшем | когда-то | некогда | до этого | изначально
eskiden | önceden | daha önce | önceki | bir zamanlar | eski adı | eski adıyla
以前 | 曾 | 曾经 | 曾經 | 原 | 旧称 | 旧名 | 过去 | 之前 | 从前 | 前身
以前は | かつては | かつての | 旧 | 元々は | もともとは | 昔は | 以前の | 元は
سابقا | سابقًا | قديما | من قبل
पहले | पूर्व | पूर्व में | कभी
เดิม | เคย | เมื่อก่อน | ก่อนหน้านี้ | อดีต
예전에는 | 이전에는 | 과거에는
voorheen | vroeger | tidigare | tidligere | dawniej | dříve
"""
"""Directly before what was the answer and is not now."""

COMPARED = """
than | replaced | replacing | succeeded | succeeding | compared to | compared with | versus | vs | confuse with
чем | 比 | 取代 | 取代了 | กว่า | قبل | بدل
"""
"""Directly before what the answer is only compared with."""

NAMING = """
as | called | named | renamed | known as | known by the name | it was | was | is | the city of | the town of | the | a | an | in | at | to be | being
city of | they said | it | in the city of | as the city of
als | die stadt | war | es | war es | der | die | das | in | bekannt als | genannt | hieß
comme | la ville de | c'était | était | à | appelée | appelé | nommée | connue sous le nom de | le | la | l'
como | la ciudad de | era | fue | en | llamada | conocida como | conocido como | el | la | se llamaba
как | город | это был | это была | была | был | это | столицей был | столицей была | назывался | называлась | в
olarak | şehri | adıyla
是 | 叫 | 为 | 叫做 | 在 | 名为 | 称为 | 也是
は | の
كانت | كان | هي | هو | مدينة | باسم | تسمى | في
यह | था | थी | शहर
คือ | เป็น | ที่ | เมือง | กรุง
"""
"""What may stand between such a word and the name."""

BUT = """
but | however | but rather | but instead | though it is
sondern | aber | doch | jedoch | vielmehr
mais | cependant | toutefois | mais plutôt
sino | pero | sino que | bensì | però | porém
а | но | однако | зато
ama | fakat | ancak | lakin | aksine | bilakis
而是 | 但是 | 但 | 可是 | 然而 | 不过 | 却是 | 反而是 | 實際上是
しかし | だが | でも | けれども | けれど | けど | ですが | むしろ
بل | لكن | ولكن | لكنها | لكنه | إنما | وإنما
बल्कि | लेकिन | मगर | परंतु | परन्तु | किंतु | अपितु
แต่ | หากแต่ | แต่ว่า | แต่เป็น
하지만 | 그러나 | 아니라
maar | lecz | tetapi | melainkan | nhưng | mà là | αλλά | אלא | אבל | بلکه | بلکہ
"""

COPULAS = """
is | are | was | were | has been | have been | it's | that's | became | remains
ist | sind | war | waren | wurde | heißt | lautet | bleibt
est | sont | était | étaient | fut | c'est | s'appelle | devient
es | son | era | fue | eran | está | sería | se llama | è | sono | é | são | foi
является | была | был | было | есть | стал | стала | называется
是 | 为 | 叫 | 位于
です | である | でした | だった
هي | هو | كانت | كان | تكون | تقع | إنها | إنه | أنها | أنه
है | हैं | था | थी | थे
คือ | เป็น
is een | är | er | jest | adalah | là | είναι | است | הוא | היא
"""

ATTITUDES = """
false | wrong | untrue | incorrect | mistake | unlikely | doubt | deny | denies | falsch | faux | falso | неверно | 错误
think | thinks | thought | believe | believes | believed | say | says | said | claim | claims | true | case | correct
sure | certain | know | mean | means | appear | seem | right | agree | suppose | accept | imply | suggest | expect
glaube | glauben | denke | denken | wahr | richtig | sicher | meine | stimmt | sagen | behaupten
pense | penser | crois | croire | vrai | sûr | sûre | dire | exact | cas | certain
creo | creer | pienso | cierto | verdad | seguro | decir | correcto | caso | penso | credo | vero | acho | verdade
думаю | считаю | верю | правда | верно | уверен | сказать
认为 | 觉得 | 相信 | 说 | 以为 | 确定 | 知道 | 是说
思 | 言
أعتقد | أظن | صحيح | يمكن القول | متأكد | صحيحا
लगता | मानता | सच
คิด | เชื่อ | จริง
"""
"""Verbs and adjectives through which a denial reaches the clause that depends on them ("I do not think that it is")."""

SUBORDINATING = "that | whether | if | dass | daß | ob | que | qu'* | si | che | что | чтобы | будто | ki | कि | أن | أنها | أنه | ว่า"

CONTRAST_AFTER = """
and not | not | and never | and no longer | rather than | instead of | as opposed to | unlike | nor | but not | other than
und nicht | nicht | statt | anstatt | sondern | und kein* | und nie
et non | et pas | et non pas | pas | non | plutôt que | plutôt qu'* | au lieu de | au lieu d'*
y no | no | en lugar de | en vez de | e non | e não | não
а не | и не | вместо
ve
而不是 | 而非 | 而不在
وليس | وليست | ولا | لا | بدلا من
न कि | और नहीं
และไม่ใช่
en niet | och inte | og ikke | a nie | a ne | dan bukan | chứ không phải
"""
"""After a name, before another that is denied instead of it."""

ALTERNATIVES = """
or | oder | или | либо | veya | ya da | yoksa | 或者 | 或是 | 或 | または | あるいは | もしくは | それとも
أو | या | अथवा | หรือ | 또는 | 혹은 | of niet | eller | lub | atau | hoặc | ή | או | یا
"""

WRONG = """
wrong | incorrect | incorrectly | false | falsely | mistaken | mistakenly | untrue | inaccurate | erroneous | erroneously
a myth | a misconception | a mistake | a lie | out of the question | not true
falsch | unrichtig | fälschlich* | unwahr | irrtümlich* | inkorrekt
faux | fausse | incorrect | incorrecte | à tort | erroné | erronée | inexact
falso | falsa | incorrecto | incorrecta | erróneo | errónea | mentira | equivocado | sbagliato | errado
неверно | неправильно | неправда | ошибка | ошибочно | ложь | неверный | неправильный
yanlış | yanlıştır | hatalı | doğru değil
错误 | 错的 | 错了 | 不对 | 不正确 | 假的 | 有误
間違い | 間違って* | 誤り | 嘘 | 違います | 違う | 正しくない
خطأ | خاطئ | خاطئة | غلط | غير صحيح | غير صحيحة
गलत | ग़लत | असत्य | झूठ
ผิด | ไม่ถูกต้อง | เท็จ | ไม่จริง
틀렸* | 틀린 | 거짓
"""

NEARLY = """
almost | nearly | narrowly | could have been | should have been | might have been | would have been | was meant to be
was supposed to be | was to be | beinahe | um ein haar | presque | casi | quasi | quase | чуть не | едва не | почти
neredeyse | az kalsın | 差点 | 险些 | 几乎 | 危うく | كاد | كادت | تقريبا | लगभग | เกือบ | 하마터면
"""
"""Directly before what did not become the answer."""

CORRECTIONS = """
no wait | wait no | sorry | i mean | or rather | correction | scratch that | no sorry | actually no | my mistake | pardon
nein | ich meine | verzeihung | besser gesagt | enfin | je veux dire | plutôt | perdón | quiero decir | mejor dicho
нет | точнее | вернее | то есть нет | pardon | yani hayır | 不对 | 不，是 | いや | いえ | عفوا | नहीं नहीं
"""
"""After a name and a mark, before the name that was meant."""

ASIDES = """
near | close to | next to | not far from | north of | south of | east of | west of | northeast of | northwest of
southeast of | southwest of | outside | beyond | twinned with | between | along with | followed by | ahead of | behind
like | similar to | larger than | smaller than | bigger than | or not | rival of
nahe | bei | neben | nördlich von | südlich von | östlich von | westlich von | unweit von | in der nähe von | zwischen
près de | à côté de | au nord de | au sud de | à l'est de | à l'ouest de | non loin de | entre | suivie de | suivi de
cerca de | al norte de | al sur de | al este de | al oeste de | junto a | entre | seguida de | seguido de
рядом с | недалеко от | севернее | южнее | восточнее | западнее | возле | около | между
靠近 | 邻近 | 临近 | 毗邻 | 紧邻
near to | قرب | بالقرب من | شمال | جنوب | ใกล้ | ใกล้กับ
"""
"""At the beginning of a later part of a statement: what follows tells where or beside what, not what."""

REPLACED = """
was replaced by | has been replaced by | is replaced by | were replaced by | was succeeded by | gave way to | lost to
was superseded by | has been superseded by | used to be | ceased to be | is no longer | was once | stopped being | once was
is now called | was renamed | turned out to be wrong | is out of date | was the old | is the old
wurde durch | wurde von | wurde ersetzt | war früher | war einst | ist nicht mehr
a été remplacé* par | fut remplacé* par | n'est plus | était autrefois | était jadis
fue reemplazad* por | ha sido reemplazad* por | fue sustituid* por | ya no es | solía ser | fue antes
был заменен | была заменена | раньше был* | больше не | перестал*
eskiden | artık değil | artık
曾经是 | 曾是 | 已被 | 被取代 | 不再是 | 以前是 | 过去是 | 原来是
はかつて | はもう | は以前 | はもはや | はかつての
لم تعد | لم يعد | كانت سابقا | كان سابقا | استبدلت
अब नहीं | पहले था | पहले थी | अब नहीं रह*
เคยเป็น | ไม่ใช่อีก | เคย
"""
"""After a name: it was the answer and is none now."""

OTHERS_THINK = """
many think | many believe | some think | some believe | some say | people think | people believe | people say
many people | some people | most people | others say | others think | it is often thought | commonly believed | often mistaken
popular belief | viele denken | manche denken | viele glauben | manche sagen | beaucoup pensent | certains pensent
certains disent | muchos creen | algunos creen | algunos dicen | muchos piensan | многие думают | многие считают
некоторые считают | некоторые думают | birçok kişi | bazıları | 很多人 | 有人 | 许多人 | 有些人 | 多くの人 | と思う人
يعتقد البعض | يعتقد الكثير* | बहुत से लोग | कई लोग | कुछ लोग | หลายคน | บางคน
you might think | you may think | one might think | you might say | some might say | you would think | could be thought
man könnte meinen | on pourrait croire | podría pensarse | можно подумать | 你可能以为 | 有人会说
"""

COMPARING = "larger | bigger | smaller | older | better | more | less | größer | kleiner | plus | más | больше | daha | 更 | より | أكبر | أصغر | बड़ा | ใหญ่กว่า"
