"""Number words of the languages of `xlrm.languages`, as far as translators exchange words and digits."""

DECIMAL_POINT = ("en", "ko", "zh")
"""Languages that write 1.5; the others write 1,5."""

MAGNITUDES: dict[str, dict[str, float]] = {
    "en": {"hundred": 1e2, "thousand": 1e3, "k": 1e3, "million": 1e6, "m": 1e6, "mn": 1e6, "billion": 1e9, "bn": 1e9,
           "b": 1e9, "trillion": 1e12, "tn": 1e12},
    "es": {"cientos": 1e2, "mil": 1e3, "miles": 1e3, "millón": 1e6, "millones": 1e6, "mill": 1e6, "billón": 1e12,
           "billones": 1e12},
    "it": {"cento": 1e2, "mila": 1e3, "mille": 1e3, "milione": 1e6, "milioni": 1e6, "mln": 1e6, "miliardo": 1e9,
           "miliardi": 1e9, "mld": 1e9},
    "de": {"hundert": 1e2, "tausend": 1e3, "tsd": 1e3, "million": 1e6, "millionen": 1e6, "mio": 1e6, "milliarde": 1e9,
           "milliarden": 1e9, "mrd": 1e9, "billionen": 1e12},
    "ru": {"тыс": 1e3, "тысяч*": 1e3, "млн": 1e6, "миллион*": 1e6, "млрд": 1e9, "миллиард*": 1e9, "трлн": 1e12},
    "tr": {"yüz": 1e2, "bin": 1e3, "milyon*": 1e6, "milyar*": 1e9, "trilyon*": 1e12},
    "vi": {"trăm": 1e2, "nghìn": 1e3, "ngàn": 1e3, "triệu": 1e6, "tỷ": 1e9, "tỉ": 1e9},
}  # fmt: skip
"""Language -> word after a number -> its factor; * stands for any ending."""

UNITS = {
    "zh": {"十": 10, "百": 1e2, "千": 1e3, "万": 1e4, "萬": 1e4, "亿": 1e8, "億": 1e8, "兆": 1e12},
    "ko": {"십": 10, "백": 1e2, "천": 1e3, "만": 1e4, "억": 1e8, "조": 1e12},
}
"""Language -> character -> its factor, in languages that build numbers of them: 6억 4900만 is 649 million."""
DIGITS = {
    "zh": {digit: i % 10 for i, digit in enumerate("〇一二三四五六七八九零")} | {"两": 2, "兩": 2},
    "ko": {digit: i for i, digit in enumerate("일이삼사오육칠팔구", 1)},
}
"""Language -> character -> its digit. In Korean they are syllables of many words and count only beside a unit."""

_WORDS = {
    "en": "zero|0 one|1 two|2 both|2 pair|2 twice|2 three|3 four|4 five|5 six|6 seven|7 eight|8 nine|9 ten|10 eleven|11 "
          "twelve|12 dozen|12 thirteen|13 fourteen|14 fifteen|15 sixteen|16 seventeen|17 eighteen|18 nineteen|19 "
          "twenty|20 thirty|30 forty|40 fifty|50 sixty|60 seventy|70 eighty|80 ninety|90 hundred|100 thousand|1000 "
          "second|2 third|3 fourth|4 fifth|5 sixth|6 seventh|7 eighth|8 ninth|9 tenth|10",
    "es": "terci*|3 medi*|0.5 mitad|0.5 veintiun*|21 veintidós|22 veintitrés|23 veinticuatro|24 veinticinco|25 "
          "veintiséis|26 veintisiete|27 veintiocho|28 veintinueve|29 doscient*|200 trescient*|300 cuatrocient*|400 "
          "quinient*|500 seiscient*|600 setecient*|700 ochocient*|800 novecient*|900 cero|0 uno|1 dos|2 ambos|2 ambas|2 "
          "tres|3 cuatro|4 cinco|5 seis|6 siete|7 ocho|8 nueve|9 diez|10 once|11 doce|12 docena|12 trece|13 catorce|14 "
          "quince|15 dieciséis|16 diecisiete|17 dieciocho|18 diecinueve|19 veinte|20 veintena|20 treinta|30 cuarenta|40 "
          "cincuenta|50 sesenta|60 setenta|70 ochenta|80 noventa|90 cien|100 ciento|100 centenar|100 mil|1000 millar|1000 "
          "segund*|2 tercer*|3 cuart*|4 quint*|5 sext*|6 séptim*|7 octav*|8 noven*|9 décim*|10",
    "it": "mezz*|0.5 metà|0.5 undic*|11 dodic*|12 tredic*|13 quattordic*|14 quindic*|15 zero|0 uno|1 due|2 entramb*|2 "
          "tre|3 quattro|4 cinque|5 sei|6 sette|7 otto|8 nove|9 dieci|10 decina|10 undici|11 dodici|12 dozzina|12 "
          "tredici|13 quattordici|14 quindici|15 sedic*|16 diciassette*|17 diciott*|18 diciannov*|19 vent*|20 trent*|30 "
          "quarant*|40 cinquant*|50 sessant*|60 settant*|70 ottant*|80 novant*|90 cento|100 centinaio|100 mille|1000 "
          "migliaio|1000 second*|2 terz*|3 quart*|4 quint*|5 sest*|6 settim*|7 ottav*|8 non*|9 decim*|10",
    "de": "halb*|0.5 hälfte*|0.5 null|0 eins|1 zwei*|2 beide*|2 drei*|3 vier*|4 fünf*|5 sechs*|6 sieb*|7 acht*|8 neun*|9 "
          "zehn*|10 elf*|11 zwölf*|12 dutzend*|12 dreizehn*|13 vierzehn*|14 fünfzehn*|15 sechzehn*|16 siebzehn*|17 "
          "achtzehn*|18 neunzehn*|19 zwanzig*|20 dreißig*|30 vierzig*|40 fünfzig*|50 sechzig*|60 siebzig*|70 achtzig*|80 "
          "neunzig*|90 hundert*|100 tausend*|1000 dritt*|3",
    "ru": "половин*|0.5 полтор*|1.5 двести|200 двухсот|200 триста|300 четыреста|400 пятьсот|500 шестьсот|600 семьсот|700 "
          "восемьсот|800 девятьсот|900 ноль|0 один|1 одн*|1 два*|2 две|2 дву*|2 двое*|2 двойн*|2 втор*|2 оба|2 обе*|2 "
          "три*|3 трет*|3 трех*|3 трёх*|3 трем*|3 трое*|3 четыр*|4 четвер*|4 пят*|5 шест*|6 семь*|7 семи|7 седьм*|7 "
          "восем*|8 восьм*|8 девят*|9 десят*|10 одиннадцат*|11 двенадцат*|12 дюжин*|12 тринадцат*|13 четырнадцат*|14 "
          "пятнадцат*|15 шестнадцат*|16 семнадцат*|17 восемнадцат*|18 девятнадцат*|19 двадцат*|20 тридцат*|30 сорок*|40 "
          "пятьдесят*|50 шестьдесят*|60 семьдесят*|70 восемьдесят*|80 девяност*|90 сто|100 сот*|100 тысяч*|1000 сутки|24 "
          "суток|24",
    "tr": "yarım|0.5 yarısı*|0.5 buçuk|0.5 çeyre*|4 sıfır*|0 iki*|2 üç*|3 dört*|4 dörd*|4 beş*|5 altı|6 altıncı*|6 yedi*|7 "
          "sekiz*|8 dokuz*|9 on|10 düzine|12 yirmi*|20 otuz*|30 kırk*|40 elli*|50 altmış*|60 yetmiş*|70 seksen*|80 "
          "doksan*|90 yüz|100 bin|1000 binler*|1000",
    "vi": "nửa|0.5 rưỡi|0.5 tư|4 mốt|1 mươi|10 không|0 hai|2 nhì|2 ba|3 bốn|4 lăm|5 sáu|6 bảy|7 tám|8 chín|9 mười|10 "
          "trăm|100 nghìn|1000 ngàn|1000",
    "ko": "절반*|0.5 반|0.5 첫|1 첫째*|1 영|0 하나*|1 두|2 둘*|2 세|3 셋*|3 네|4 넷*|4 다섯*|5 여섯*|6 일곱*|7 "
          "여덟*|8 아홉*|9 열|10 열한*|11 열하나*|11 열두*|12 열둘*|12 열세*|13 열네*|14 열다섯*|15 열여섯*|16 "
          "열일곱*|17 열여덟*|18 열아홉*|19 스물*|20 스무*|20 서른*|30 마흔*|40 쉰*|50",
    "zh": "半|0.5",
}  # fmt: skip
WORDS: dict[str, dict[str, float]] = {
    code: {word: float(value) for word, value in (pair.split("|") for pair in text.split())}
    for code, text in _WORDS.items()
}
"""Language -> number word -> its value; * stands for any ending."""

COMPOUNDS = {
    "de": "ein|1 zwei|2 drei|3 vier|4 fünf|5 sechs|6 sech|6 sieben|7 sieb|7 acht|8 neun|9 zehn|10 zwanzig|20 dreißig|30 "
          "vierzig|40 fünfzig|50 sechzig|60 siebzig|70 achtzig|80 neunzig|90 hundert|100 tausend|1000 und|0",
    "it": "uno|1 un|1 due|2 tre|3 tré|3 quattro|4 cinque|5 sei|6 sette|7 otto|8 nove|9 dieci|10 vent|20 trent|30 "
          "quarant|40 cinquant|50 sessant|60 settant|70 ottant|80 novant|90 cento|100 mila|1000 mille|1000 i|0 a|0",
}  # fmt: skip
"""Language -> parts of compound number words: fünfundzwanzig, duecentotrenta."""

FIRST = {
    "en": ("first",), "es": ("primer",), "it": ("prim",), "de": ("erst",), "ru": ("перв",), "tr": ("birinci", "ilk"),
    "vi": ("nhất", "đầu"), "ko": ("첫", "제일"), "zh": ("第一", "首"),
}  # fmt: skip
"""Language -> translations of "1st", or their beginnings; elsewhere these words are too common to be numbers."""
ONE_O_CLOCK = {
    "en": ("one",), "es": ("una",), "it": ("una",), "de": ("ein",), "ru": ("час",), "tr": ("bir",), "vi": ("một",),
    "ko": ("한 시", "한시"),
}  # fmt: skip

MONTHS = {
    "en": "january february march april may june july august september october november december",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "de": "januar februar märz april mai juni juli august september oktober november dezember",
    "ru": "январ феврал март апрел ма июн июл август сентябр октябр ноябр декабр",
    "tr": "ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık",
}
"""Language -> beginnings of the names of the months; other languages number them."""

BELOW_ZERO = {
    "en": ("minus", "negative", "below"), "es": ("menos", "negativ", "bajo cero"), "it": ("meno", "negativ", "sotto"),
    "de": ("minus", "negativ", "unter"), "ru": ("минус", "отрицат", "ниже", "мороз"),
    "tr": ("eksi", "negatif", "altı"), "vi": ("âm ", "trừ", "dưới"), "ko": ("영하", "마이너스", "음의", "음수"),
    "zh": ("零下", "负", "負", "减", "減"),
}  # fmt: skip
"""Language -> words beside a number that replace its minus sign."""
RANGE = {
    "en": "to|and|or", "es": "a|o|y", "it": "a|o|e", "de": "bis|oder|und", "ru": "до|или|и", "tr": "ila|ile|veya",
    "vi": "đến|tới|hoặc", "ko": "에서|또는", "zh": "至|到|或",
}  # fmt: skip
"""Language -> words between the ends of a range, besides dashes: 30 to 50 thousand is 30,000 to 50,000."""
COUNTED = "月日号號级級点點时時年岁歲届屆楼层層章节節条條流"
"""Chinese characters after which 一 is counted as a number; elsewhere it is as often an article."""
