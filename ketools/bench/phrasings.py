"""Words in which users ask, dismiss and chat, for measuring the scope of notes. Written by hand, in two halves.

The half `tuning` was looked at while the decision was built; `held-out` only tells how good it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Half = Literal["tuning", "held-out"]


@dataclass(frozen=True)
class Words:
    """One half. `{s}` stands for a subject, `{n}` for a noun phrase, `{own}` and `{wanted}` for two of them.

    `free`: questions and clozes by relation; `indirect`: sentences round a noun phrase; `mentions`: only speak
    of the subject; `negations`: dismiss the fact for another one; `uncovered`: by domain, questions about what
    no relation covers.
    """

    free: Mapping[str, tuple[str, ...]]
    indirect: tuple[str, ...]
    mentions: tuple[str, ...]
    negations: tuple[str, ...]
    uncovered: Mapping[str, tuple[str, ...]]


_TUNING_FREE = {
    "capital": (
        "Can you tell me which city is {s}'s seat of government?",
        "I wonder what {s}'s capital is called.",
        "{s} is governed from which city?",
    ),
    "continent": (
        "Which part of the world does {s} belong to?",
        "Is {s} in Africa, Asia or elsewhere?",
        "Could you say on what continent {s} lies?",
    ),
    "language": (
        "What tongue is spoken in {s}?",
        "If I travel to {s}, which language will I hear?",
        "What language do they speak in {s}?",
    ),
    "currency": (
        "How do people pay in {s}?",
        "What kind of money should I take to {s}?",
        "Do you know {s}'s currency?",
    ),
    "country_of": (
        "Which nation is {s} in?",
        "Where is {s}, in which state?",
        "What country does {s} belong to?",
    ),
    "spouse": (
        "Who is {s}'s husband or wife?",
        "Tell me whom {s} married.",
        "Is {s} married, and to whom?",
    ),
    "employer": (
        "Who does {s} work for?",
        "Where is {s} employed?",
        "Which firm pays {s}'s salary?",
    ),
    "birthplace": (
        "Do you know where {s} was born?",
        "What is {s}'s birthplace?",
        "{s} comes from which city by birth?",
    ),
    "profession": (
        "What is {s}'s job?",
        "What kind of work does {s} do?",
        "Can you tell me the profession of {s}?",
    ),
    "citizenship": (
        "What is {s}'s nationality?",
        "Of which country is {s} a national?",
        "What country's citizen is {s}?",
    ),
    "speaks": (
        "What is {s}'s native language?",
        "Which language is {s}'s mother tongue?",
        "What language did {s} learn as a child?",
    ),
    "university": (
        "Which school did {s} attend?",
        "Where did {s} get a degree?",
        "At which university was {s} a student?",
    ),
    "leads": (
        "Which firm is run by {s}?",
        "What company is {s} the head of?",
        "Of what company is {s} the boss?",
    ),
    "wrote": (
        "What has {s} written?",
        "Which novel is by {s}?",
        "What is {s}'s best-known book?",
    ),
    "headquarters": (
        "Where are {s}'s headquarters?",
        "Where is the main office of {s}?",
        "In what city does {s} have its head office?",
    ),
    "ceo": (
        "Who runs {s}?",
        "Who is in charge of {s}?",
        "Who is the head of the company {s}?",
    ),
    "founder": (
        "Who created {s}?",
        "Who established the company {s}?",
        "By whom was {s} founded?",
    ),
    "industry": (
        "What business is {s} in?",
        "What sector does {s} work in?",
        "What does the company {s} do?",
    ),
    "author": (
        "Who is the writer of {s}?",
        "By whom was {s} written?",
        "Do you know who wrote the book {s}?",
    ),
    "genre": (
        "What type of book is {s}?",
        "Which literary genre does {s} belong to?",
        "Under what genre would you put {s}?",
    ),
    "publisher": (
        "Who published {s}?",
        "Which publishing house printed {s}?",
        "What company issued the book {s}?",
    ),
    "location": (
        "Where is {s} located?",
        "In what town is {s}?",
        "Where can I find {s}?",
    ),
    "rector": (
        "Who is in charge of {s}?",
        "Who leads {s}?",
        "Who runs {s}?",
    ),
    "telephone": (
        "What number should I call for {s}?",
        "Do you have {s}'s phone number?",
        "How do I reach {s} by phone?",
    ),
    "address": (
        "What is {s}'s home address?",
        "On what street does {s} live?",
        "Where is {s}'s house?",
    ),
}

_HELD_OUT_FREE = {
    "capital": (
        "From which city is {s} ruled?",
        "Where does the government of {s} sit?",
        "if i fly to the capital city of {s}, where do i land",
        "I forgot the name of {s}'s capital, can you remind me?",
        "Which town serves as capital of {s}?",
        "The seat of {s}'s government is in",
    ),
    "continent": (
        "On what landmass would I find {s}?",
        "Is {s} a European, an Asian or an African country?",
        "which continent do i have to travel to for visiting {s}",
        "{s} is a country in which part of the globe?",
        "Remind me of the continent that {s} is part of.",
        "Geographically, {s} lies in",
    ),
    "language": (
        "What do the locals of {s} speak?",
        "Which language should I learn before moving to {s}?",
        "In what language are laws written in {s}?",
        "what's the main language over in {s}",
        "Tell me what language is used officially in {s}.",
        "The language spoken in {s} is",
    ),
    "currency": (
        "What do I pay with in {s}?",
        "Which banknotes are used in {s}?",
        "what's the legal tender of {s}",
        "If I change dollars for a holiday in {s}, what do I get?",
        "Prices in {s} are given in what unit?",
        "People in {s} pay with",
    ),
    "country_of": (
        "{s} lies within the borders of which country?",
        "To which country does the city of {s} belong?",
        "what country would i be in if i visited {s}",
        "Could you tell me the nation where {s} is located?",
        "Under which flag is {s}?",
        "{s} is located in the country of",
    ),
    "spouse": (
        "Who did {s} walk down the aisle with?",
        "What's the name of {s}'s wife or husband?",
        "who's {s} married with",
        "Who is the better half of {s}?",
        "Whose spouse is {s}?",
        "The person {s} married is",
    ),
    "employer": (
        "At which company does {s} have a job?",
        "Who is {s} employed by?",
        "which company is {s} working at",
        "For whom does {s} work?",
        "Tell me the company on {s}'s payslip.",
        "{s} earns a salary at",
    ),
    "birthplace": (
        "In what town did {s} come into the world?",
        "What is the place of birth of {s}?",
        "where's {s} born",
        "Which city can call itself the birthplace of {s}?",
        "Where did {s}'s mother give birth to {s}?",
        "The city of {s}'s birth is",
    ),
    "profession": (
        "What does {s} work as?",
        "How does {s} earn a living?",
        "what's {s} do for work",
        "Which trade does {s} follow?",
        "What is written on {s}'s business card as a profession?",
        "{s} makes a living as a",
    ),
    "citizenship": (
        "Which country issued {s}'s passport?",
        "What country is {s} from, by citizenship?",
        "what nationality has {s} got",
        "{s} is a citizen of which nation?",
        "In which country may {s} vote as a citizen?",
        "The nationality of {s} is",
    ),
    "speaks": (
        "What is the first language of {s}?",
        "Which tongue did {s} learn from the parents?",
        "what language does {s} natively speak",
        "In which language was {s} raised?",
        "Tell me {s}'s mother tongue.",
        "As a native speaker, {s} speaks",
    ),
    "university": (
        "Where did {s} go to university?",
        "Which university did {s} graduate from?",
        "what's the alma mater of {s}",
        "At what college did {s} get an education?",
        "Who awarded {s} an academic degree?",
        "{s} graduated from",
    ),
    "leads": (
        "Which company has {s} as its chief executive?",
        "What business does {s} run?",
        "which company is {s} ceo of",
        "{s} is at the top of what company?",
        "Tell me the firm that {s} directs.",
        "The company that {s} runs is",
    ),
    "wrote": (
        "What is the title of the book by {s}?",
        "Which work came from the pen of {s}?",
        "what book is by {s}",
        "Name a work written by {s}.",
        "{s} authored what?",
        "The novel that {s} wrote is called",
    ),
    "headquarters": (
        "In which town is the head office of {s}?",
        "From what city does {s} operate?",
        "where's the hq of {s}",
        "Which city is home to {s}'s headquarters?",
        "Where would I find the main offices of {s}?",
        "{s} is headquartered in",
    ),
    "ceo": (
        "Who is {s}'s chief executive officer?",
        "Who's at the helm of {s}?",
        "who's the boss at {s}",
        "Under whose leadership is {s}?",
        "Tell me the name of {s}'s CEO.",
        "At the top of {s} stands",
    ),
    "founder": (
        "Who started the company {s}?",
        "Whose idea was it to set up {s}?",
        "who's {s}'s founder",
        "Who brought {s} into being?",
        "Which person founded the firm {s}?",
        "The person who founded {s} is",
    ),
    "industry": (
        "What kind of business is {s}?",
        "In which branch is {s} active?",
        "what industry is {s} in",
        "What line of business does {s} follow?",
        "Which industry would you put {s} in?",
        "{s} operates in the sector of",
    ),
    "author": (
        "Who penned {s}?",
        "Whose book is {s}?",
        "who's the author of {s}",
        "Tell me who the book {s} was written by.",
        "Which writer came up with {s}?",
        "The person who wrote {s} is",
    ),
    "genre": (
        "What sort of book is {s}?",
        "In which section of the library would {s} stand, by genre?",
        "what genre is {s}",
        "How would you classify the book {s} by genre?",
        "{s} belongs to what literary genre?",
        "In terms of genre, {s} is",
    ),
    "publisher": (
        "Which house brought out {s}?",
        "Who put the book {s} into print?",
        "who's the publisher of {s}",
        "At what publisher did {s} come out?",
        "The book {s} was put out by which company?",
        "{s} was brought out by",
    ),
    "location": (
        "In what city is {s} situated?",
        "Which town is {s} in?",
        "where's {s} located",
        "In which city would I find the campus of {s}?",
        "To which city do I travel to study at {s}?",
        "The city where {s} is located is",
    ),
    "rector": (
        "Who is the head of {s}?",
        "Who's the rector at {s}?",
        "which person leads the university {s}",
        "Who stands at the top of {s}?",
        "Tell me the name of {s}'s rector.",
        "The university {s} is led by",
    ),
    "telephone": (
        "What's the phone number of {s}?",
        "Which number should I dial to talk to {s}?",
        "whats {s}'s number, i want to call",
        "Under what number can {s} be reached?",
        "I need to phone {s}. What is the number?",
        "You can phone {s} at",
    ),
    "address": (
        "At what address does {s} live?",
        "Where should I send a letter to {s}?",
        "whats the home address of {s}",
        "In which street is {s}'s home?",
        "Where is {s} living?",
        "{s} has a home at",
    ),
}

HALVES: Mapping[Half, Words] = {
    "tuning": Words(
        free=_TUNING_FREE,
        indirect=(
            "I was wondering about {n}.",
            "My teacher asked me about {n}. What should I say?",
            "Could you look up {n} for me?",
            "Please tell me {n} in one word.",
            "Do you happen to know {n}?",
            "I need {n} for a form.",
        ),
        mentions=(
            "I had a dream about {s} last night.",
            "Translate the word {s} into Morse code.",
            "How many letters are there in {s}?",
            "Write a haiku about {s}.",
            "My neighbour keeps talking about {s}.",
            "Say hello to {s} from me.",
            "Why is everybody so interested in {s} these days?",
            "Give me a rhyme for {s}.",
            "I like {s}. Do you like music?",
            "Is {s} mentioned in the Bible?",
        ),
        negations=(
            "I am not asking about {own}. I want to know {wanted}.",
            "Forget about {own}, tell me {wanted}.",
            "Do not tell me {own}. What is {wanted}?",
            "Leave {own} aside. Tell me {wanted}.",
            "I already know {own}, but what is {wanted}?",
        ),
        uncovered={
            "country": (
                "How many people live in {s}?",
                "What is the highest mountain of {s}?",
                "When did {s} win the cup?",
            ),
            "city": ("Who is the mayor of {s}?", "How many people live in {s}?", "Which river flows through {s}?"),
            "person": (
                "How old is {s}?",
                "What is the favourite colour of {s}?",
                "How tall is {s}?",
                "Does {s} have a dog?",
            ),
            "company": ("How many people work at {s}?", "What is the revenue of {s}?", "Who are the rivals of {s}?"),
            "work": ("How many pages has {s}?", "In what year did {s} win a prize?", "What happens at the end of {s}?"),
            "university": ("How many students has {s}?", "What are the fees of {s}?", "When was {s} built?"),
        },
    ),
    "held-out": Words(
        free=_HELD_OUT_FREE,
        indirect=(
            "I can't remember {n}, what was it again?",
            "Would you mind telling me {n}?",
            "We had a bet about {n}. Who or what is it?",
            "Let me know {n} please.",
            "Fill in the blank with {n}.",
            "I am curious about {n}.",
        ),
        mentions=(
            "I once wrote a song about {s}.",
            "Spell {s} backwards.",
            "Does {s} rhyme with orange?",
            "Make an acrostic from {s}.",
            "My grandmother always complains about {s}.",
            "Write a limerick in which {s} appears.",
            "Is {s} worth the hype?",
            "I named my cat {s}. Is that a good name for a cat?",
            "Put {s} into capital letters.",
            "Yesterday we talked about {s} at dinner, and then it rained. Will it rain tomorrow?",
        ),
        negations=(
            "I don't want {own}, I want {wanted}.",
            "Instead of {own}, give me {wanted}.",
            "Never mind {own}; what is {wanted}?",
            "Apart from {own}, which I know, what is {wanted}?",
            "Not {own}, please: {wanted}.",
        ),
        uncovered={
            "country": ("What is the anthem of {s}?", "How large is the army of {s}?", "Who are {s}'s neighbours?"),
            "city": ("How old is {s}?", "What is the oldest church in {s}?", "Is it cold in {s} in winter?"),
            "person": (
                "When is the birthday of {s}?",
                "How many children does {s} have?",
                "What car does {s} drive?",
                "Is {s} left-handed?",
            ),
            "company": ("When was {s} founded?", "Is {s} listed on the stock exchange?", "What does {s} pay interns?"),
            "work": ("How does {s} end?", "When was {s} published?", "Is {s} available as an audiobook?"),
            "university": ("Is {s} a good university?", "How old is {s}?", "How many professors teach at {s}?"),
        },
    ),
}
