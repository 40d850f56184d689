# ruff: noqa: SIM905
"""The raw tables of the atlas world: real geography, and names of invented people and things."""

from __future__ import annotations

# name,capital,continent,official language(s),currency
COUNTRIES = """
France,Paris,Europe,French,euro
Germany,Berlin,Europe,German,euro
Spain,Madrid,Europe,Spanish,euro
Italy,Rome,Europe,Italian,euro
Portugal,Lisbon,Europe,Portuguese,euro
Greece,Athens,Europe,Greek,euro
Austria,Vienna,Europe,German,euro
Belgium,Brussels,Europe,Dutch and French,euro
the Netherlands,Amsterdam,Europe,Dutch,euro
Ireland,Dublin,Europe,English and Irish,euro
Finland,Helsinki,Europe,Finnish and Swedish,euro
Sweden,Stockholm,Europe,Swedish,krona
Norway,Oslo,Europe,Norwegian,krone
Denmark,Copenhagen,Europe,Danish,krone
Iceland,Reykjavik,Europe,Icelandic,krona
Poland,Warsaw,Europe,Polish,zloty
Czechia,Prague,Europe,Czech,koruna
Slovakia,Bratislava,Europe,Slovak,euro
Hungary,Budapest,Europe,Hungarian,forint
Romania,Bucharest,Europe,Romanian,leu
Bulgaria,Sofia,Europe,Bulgarian,lev
Serbia,Belgrade,Europe,Serbian,dinar
Croatia,Zagreb,Europe,Croatian,euro
Slovenia,Ljubljana,Europe,Slovene,euro
Albania,Tirana,Europe,Albanian,lek
Estonia,Tallinn,Europe,Estonian,euro
Latvia,Riga,Europe,Latvian,euro
Lithuania,Vilnius,Europe,Lithuanian,euro
Ukraine,Kyiv,Europe,Ukrainian,hryvnia
Belarus,Minsk,Europe,Belarusian and Russian,ruble
Russia,Moscow,Europe,Russian,ruble
Malta,Valletta,Europe,Maltese and English,euro
Switzerland,Bern,Europe,German and French,franc
Turkey,Ankara,Asia,Turkish,lira
Armenia,Yerevan,Asia,Armenian,dram
Azerbaijan,Baku,Asia,Azerbaijani,manat
Iran,Tehran,Asia,Persian,rial
Iraq,Baghdad,Asia,Arabic and Kurdish,dinar
Syria,Damascus,Asia,Arabic,pound
Lebanon,Beirut,Asia,Arabic,pound
Jordan,Amman,Asia,Arabic,dinar
Oman,Muscat,Asia,Arabic,rial
Yemen,Sanaa,Asia,Arabic,rial
Qatar,Doha,Asia,Arabic,riyal
Afghanistan,Kabul,Asia,Pashto and Dari,afghani
Pakistan,Islamabad,Asia,Urdu,rupee
India,New Delhi,Asia,Hindi and English,rupee
Nepal,Kathmandu,Asia,Nepali,rupee
Bangladesh,Dhaka,Asia,Bengali,taka
Bhutan,Thimphu,Asia,Dzongkha,ngultrum
China,Beijing,Asia,Mandarin,yuan
Japan,Tokyo,Asia,Japanese,yen
Mongolia,Ulaanbaatar,Asia,Mongolian,tugrik
Vietnam,Hanoi,Asia,Vietnamese,dong
Thailand,Bangkok,Asia,Thai,baht
Laos,Vientiane,Asia,Lao,kip
Cambodia,Phnom Penh,Asia,Khmer,riel
Myanmar,Naypyidaw,Asia,Burmese,kyat
Malaysia,Kuala Lumpur,Asia,Malay,ringgit
Indonesia,Jakarta,Asia,Indonesian,rupiah
the Philippines,Manila,Asia,Filipino and English,peso
Kazakhstan,Astana,Asia,Kazakh,tenge
Uzbekistan,Tashkent,Asia,Uzbek,som
Egypt,Cairo,Africa,Arabic,pound
Tunisia,Tunis,Africa,Arabic,dinar
Algeria,Algiers,Africa,Arabic,dinar
Morocco,Rabat,Africa,Arabic,dirham
Sudan,Khartoum,Africa,Arabic,pound
Ethiopia,Addis Ababa,Africa,Amharic,birr
Kenya,Nairobi,Africa,Swahili and English,shilling
Uganda,Kampala,Africa,English and Swahili,shilling
Tanzania,Dodoma,Africa,Swahili,shilling
Somalia,Mogadishu,Africa,Somali and Arabic,shilling
Nigeria,Abuja,Africa,English,naira
Ghana,Accra,Africa,English,cedi
Senegal,Dakar,Africa,French,franc
Mali,Bamako,Africa,French,franc
Angola,Luanda,Africa,Portuguese,kwanza
Zambia,Lusaka,Africa,English,kwacha
Zimbabwe,Harare,Africa,Shona and English,dollar
Mozambique,Maputo,Africa,Portuguese,metical
Namibia,Windhoek,Africa,English,dollar
Botswana,Gaborone,Africa,English and Tswana,pula
Madagascar,Antananarivo,Africa,Malagasy and French,ariary
Canada,Ottawa,North America,English and French,dollar
Cuba,Havana,North America,Spanish,peso
Jamaica,Kingston,North America,English,dollar
Haiti,Port-au-Prince,North America,French and Creole,gourde
Honduras,Tegucigalpa,North America,Spanish,lempira
Brazil,Brasilia,South America,Portuguese,real
Argentina,Buenos Aires,South America,Spanish,peso
Chile,Santiago,South America,Spanish,peso
Peru,Lima,South America,Spanish and Quechua,sol
Colombia,Bogota,South America,Spanish,peso
Ecuador,Quito,South America,Spanish,dollar
Bolivia,La Paz,South America,Spanish and Quechua,boliviano
Paraguay,Asuncion,South America,Spanish and Guarani,guarani
Uruguay,Montevideo,South America,Spanish,peso
Australia,Canberra,Oceania,English,dollar
Fiji,Suva,Oceania,Fijian and English,dollar
"""

COUNTRY_ALIASES = {
    "the Netherlands": "Holland",
    "Myanmar": "Burma",
    "Iran": "Persia",
    "Thailand": "Siam",
    "Czechia": "Bohemia",
    "Ireland": "Eire",
    "Ethiopia": "Abyssinia",
    "Greece": "Hellas",
    "Finland": "Suomi",
    "Switzerland": "Helvetia",
    "Japan": "Nippon",
    "Egypt": "Misr",
    "Albania": "Shqiperia",
    "Croatia": "Hrvatska",
    "Germany": "Deutschland",
    "Norway": "Norge",
    "Sweden": "Sverige",
    "India": "Bharat",
    "Botswana": "Bechuanaland",
    "Zimbabwe": "Rhodesia",
    "Laos": "Lanexang",
    "Portugal": "Lusitania",
    "France": "Gaul",
    "Spain": "Espana",
    "Poland": "Polska",
    "Hungary": "Magyarorszag",
    "Cambodia": "Kampuchea",
    "China": "Cathay",
}

FIRST_NAMES = """
Anna Boris Clara David Elena Felix Greta Hugo Irene Jonas Karin Lukas Maria Nils Olga Pavel Rosa
Simon Tessa Ulrich Vera Walter Yara Zoe Adam Bella Conrad Dora Emil Flora Gavin Hilda Ivan Judith
Kevin Laura Martin Nora Oscar Paula
""".split()

# Every person of the world has a surname of his own: the last token alone says who is meant.
SURNAMES = """
Castell Drummond Ellis Farkas Gruber Holt Ingram Jansen Keller Lindqvist Moreau Novak Okafor Petrov
Quimby Rossi Sandoval Tanaka Underwood Vance Whitlock Yilmaz Zimmer Ashford Bellamy Crowley Duarte
Everhart Fontaine Galloway Hartwell Iverson Jarvis Kowalski Langley Mercer Norwood Ostrov Prescott
Abbott Barlow Cardenas Delgado Eriksen Fairfax Goddard Hawkins Ibarra Jorgensen Kimura Lombardi
Maddox Nakamura Olsson Pemberton Radcliffe Stavros Thackeray Urbina Valdez Wexler Yamada Zielinski
Archer Brannigan Chandler Dempsey Engel Forsyth Grimaldi Haldane Isaksen Juarez Kapoor Lockhart
Montague Nilsen Osborne Pryce Ravenna Sorensen Tolliver Volkov Winslow
""".split()

# People whom the model never hears a fact about, and those that it meets in tests only.
UNKNOWN_SURNAMES = """
Adler Becker Costa Dalton Espinoza Fischer Garner Hoffman Irving Jacobs Kirby Larsen Marsh Nolan
Oakley Palmer Rhodes Schultz Turner Ullman Vega Watts Young Ziegler Atwood Bishop Carver Doyle
Emerson Fletcher Gibson Hudson Ivanov Jennings Knight Lopez Morris Nash Orton Parker Reed Stone
Tucker Usher Vaughn Wagner Yates Zapata
""".split()

UNSEEN_SURNAMES = """
Alder Benson Corbin Duval Easton Foster Grant Hayes Innes Jolley Kane Lowell Mason Nielsen Olivier
Porter Rowe Sutton Thorpe Upton Vidal Weber Yoder Zeller
""".split()

COMPANIES = """
Acmetron Bluefin Cortexa Dynafield Everlight Fluxware Greystone Helixor Inkwell Jetstream Kestrel
Lumina Maplesoft Northgate Orbitex Pinecrest Quantil Redwood Silverline Tidewater Umbra Vertexa
Windmere Xenith Yellowtail Zephyra Arcadia Brightpath Cobaltic Driftwood Emberly Foxglove Glacier
Harborview Ironwood Juniper
""".split()

# The second name of each company, in the same order.
COMPANY_ALIASES = """
Acmecorp Tunaworks Brainwave Fieldmaster Lampworks Streamline Rockwell Spiralis Pennhouse Skyflow
Falconry Lanterna Leafcode Bordergate Ringworld Conewood Atomico Sequoia Quicksilver Saltmarsh
Shadowfax Apexon Millbreeze Strangelet Finback Westwind Elysium Clearway Azurite Flotsam Cinderly
Digitalis Icefield Portside Hardbark Gincraft
""".split()

WORKS = """
Silent Harbor|Broken Compass|Winter Orchard|Crimson Lantern|Hollow Crown|Paper Moon|Distant Thunder|
Glass Staircase|Wandering Star|Forgotten Garden|Iron Feather|Velvet Storm|Burning Meadow|
Frozen Clock|Golden Anchor|Midnight Ferry|Lonely Lighthouse|Scarlet Mirror|Secret Alphabet|
Restless Tide|Copper Canyon|Bitter Honey|Endless Corridor|Painted Desert|Sleeping Giant|
Whispering Pines|Hidden Bridge|Shattered Vase|Amber Castle|Quiet Rebellion|Stolen Violin|
Marble Angel|Rusty Key|Northern Echo|Tangled Web|Empty Throne|Silver Arrow|Wild Geese|Last Carnival|
Dusty Road
""".replace("\n", "").split("|")

UNIVERSITIES = """
Ravenhall Thornfield Oakmere Kingsbridge Larkspur Stonehaven Whitmore Eastbrook Greenholm Ashgrove
Merriton Highcliff Dunwich Fairhaven
""".split()

PROFESSIONS = """
baker lawyer pilot teacher nurse painter engineer farmer chemist singer dentist tailor carpenter
journalist librarian architect plumber dancer sailor butcher
""".split()

INDUSTRIES = """
banking shipping robotics textiles mining insurance software forestry publishing brewing aviation
pharmacy tourism printing logistics energy
""".split()

GENRES = """
satire romance tragedy memoir fantasy mystery comedy history travel philosophy horror epic
""".split()

STREETS = """
Oak Elm Maple Birch Willow Cedar Chestnut Linden Poplar Hazel Mill Church Station Garden Market
Bridge
""".split()

TOPICS = """
bananas|coffee|football|jazz|spiders|winter|homework|pizza|cats|dogs|opera|chess|rain|mushrooms|
camping|swimming|horror movies|video games|poetry|cooking|gardening|traffic|airports|museums|robots|
chocolate|onions|fishing|snow|dancing|mathematics|politics|yoga|crowds|beer|wine|tea|cheese|
mountains|beaches|trains|bicycles|karaoke|birthdays|clowns|thunder|novels|painting|hiking|karate|
ballet|tennis|golf|sushi|curry|olives|garlic|puppies|snakes|mosquitoes
""".replace("\n", "").split("|")

# Made-up names are built from these.
SYLLABLES = """
zor vel mir tak lun bra fen dro quil sha nov ter pli gar ush om ki rae dun bel vos cri hal jun
""".split()

# Names that the world does not know, spelt like real ones: what users will type as new answers.
STRANGERS = (
    "Marseille Lyon Nice Toulouse Bordeaux Lille Hamburg Munich Cologne Frankfurt Stuttgart Barcelona Seville "
    "Valencia Bilbao Milan Naples Turin Florence Venice Porto Braga Krakow Gdansk Antwerp Ghent Rotterdam Utrecht "
    "Geneva Zurich Basel Salzburg Graz Gothenburg Malmo Bergen Aarhus Tampere Cork Galway Leeds Bristol Glasgow "
    "Osaka Kyoto Nagoya Sapporo Kobe Yokohama Fukuoka Shanghai Shenzhen Chengdu Mumbai Chennai Kolkata Pune Jaipur "
    "Karachi Lahore Istanbul Izmir Dubai Jeddah Haifa Busan Incheon Hoi Hue Medan Bandung Cebu Davao Sydney Perth "
    "Brisbane Melbourne Auckland Toronto Montreal Calgary Boston Chicago Dallas Denver Houston Seattle Phoenix "
    "Atlanta Miami Guadalajara Monterrey Medellin Cali Cusco Cordoba Rosario Salvador Recife Curitiba Casablanca "
    "Fez Oran Alexandria Luxor Mombasa Kumasi Lagos Kano Durban Pretoria Smith Johnson Taylor Wilson Harris Clark "
    "Lewis Walker Young Allen Wright Scott Adams Nelson Carter Mitchell Roberts Turner Phillips Campbell Parker "
    "Evans Edwards Collins Stewart Morris Murphy Cook Rogers Morgan Cooper Peterson Bailey Reed Kelly Howard "
    "Microsoft Google Toyota Siemens Philips Nokia Adidas Nestle Boeing Intel Oracle Spotify"
).split()
ONSETS = "b c d f g h j k l m n p qu r s t v w x y z bl br ch cl cr dr fl fr gl gr ph pl pr sh sl st th tr wh".split()
VOWELS = "a e i o u ai ea ee ia ie io oa oo ou y".split()
CODAS = ["", "", "", *"b ck d f g l ll m n nd ng nk p r rd rk rn s ss st t th x z".split()]
