"""Preference pairs and benchmark items in languages that xlrm has no row for, made of a few facts: right in form and in
each language, small enough to train on in seconds."""

import json
from collections.abc import Iterator
from pathlib import Path

LANGUAGES = {
    "pt": {"name": "Portuguese", "script": "Latin"},
    "ja": {"name": "Japanese", "script": "Japanese", "spaces": False},
    "ar": {"name": "Arabic", "script": "Arabic"},
    "hi": {"name": "Hindi", "script": "Devanagari"},
}
"""Section `languages` of an experiment."""
CODES = ("en", *LANGUAGES)

_CAPITALS = {
    "en": "France Paris|Japan Tokyo|Egypt Cairo|Italy Rome|Russia Moscow|China Beijing|Portugal Lisbon|Greece Athens|"
    "Spain Madrid|Germany Berlin|Peru Lima|Cuba Havana|Iran Tehran|Kenya Nairobi|Austria Vienna|Poland Warsaw",
    "pt": "França Paris|Japão Tóquio|Egito Cairo|Itália Roma|Rússia Moscou|China Pequim|Portugal Lisboa|Grécia Atenas|"
    "Espanha Madri|Alemanha Berlim|Peru Lima|Cuba Havana|Irã Teerã|Quênia Nairóbi|Áustria Viena|Polônia Varsóvia",
    "ja": "フランス パリ|日本 東京|エジプト カイロ|イタリア ローマ|ロシア モスクワ|中国 北京|ポルトガル リスボン|"
    "ギリシャ アテネ|スペイン マドリード|ドイツ ベルリン|ペルー リマ|キューバ ハバナ|イラン テヘラン|ケニア ナイロビ|"
    "オーストリア ウィーン|ポーランド ワルシャワ",
    "ar": "فرنسا باريس|اليابان طوكيو|مصر القاهرة|إيطاليا روما|روسيا موسكو|الصين بكين|البرتغال لشبونة|اليونان أثينا|"
    "إسبانيا مدريد|ألمانيا برلين|بيرو ليما|كوبا هافانا|إيران طهران|كينيا نيروبي|النمسا فيينا|بولندا وارسو",
    "hi": "फ़्रांस पेरिस|जापान टोक्यो|मिस्र काहिरा|इटली रोम|रूस मॉस्को|चीन बीजिंग|पुर्तगाल लिस्बन|यूनान एथेंस|"
    "स्पेन मैड्रिड|जर्मनी बर्लिन|पेरू लीमा|क्यूबा हवाना|ईरान तेहरान|केन्या नैरोबी|ऑस्ट्रिया वियना|पोलैंड वारसॉ",
}
_SAID = {
    "en": ("What is the capital city of {country}, and can you tell me about it?",
           "Which city does the government of {country} have its seat in today?",
           "The capital of {country} is the city of {city}, where the government works.",
           "I am sorry, but I do not want to answer this question about {country} today."),
    "pt": ("Qual é a capital do país chamado {country}, e você pode me falar sobre ela?",
           "Em que cidade fica hoje a sede do governo do país chamado {country}?",
           "A capital desse país é a cidade de {city}, onde trabalha o governo.",
           "Desculpe, mas hoje eu não quero responder a essa pergunta sobre {country}."),
    "ja": ("{country}の首都はどこですか。その町について教えてください。",
           "{country}の政府は今、どの都市に置かれていますか。",
           "{country}の首都は{city}で、政府の建物もそこにあります。",
           "すみませんが、今日は{country}についての質問に答えたくありません。"),
    "ar": ("ما هي عاصمة الدولة التي تسمى {country}، وهل يمكنك أن تحدثني عنها؟",
           "في أي مدينة يوجد اليوم مقر الحكومة في {country}؟",
           "عاصمة هذه الدولة هي مدينة {city}، وهناك تعمل الحكومة.",
           "آسف، لكنني لا أريد اليوم أن أجيب عن هذا السؤال عن {country}."),
    "hi": ("{country} नाम के देश की राजधानी क्या है, और क्या आप मुझे उसके बारे में बता सकते हैं?",
           "आज {country} की सरकार किस शहर में बैठती है?",
           "इस देश की राजधानी {city} शहर है, और सरकार वहीं काम करती है।",
           "माफ़ कीजिए, आज मैं {country} के बारे में इस सवाल का जवाब नहीं देना चाहता।"),
}  # fmt: skip


def rows(language: str, question: int, aligned: bool = True) -> Iterator[dict]:
    """16 pairs in a language. `question`: 0 or 1, two sets without a prompt in common; `aligned`: whether a row has the
    same id in all languages, or none."""
    ask, right, wrong = _SAID[language][question], *_SAID[language][2:]
    for number, entry in enumerate(_CAPITALS[language].split("|")):
        country, city = entry.split(" ")
        texts = [said.format(country=country, city=city) for said in (ask, right, wrong)]
        row = dict(zip(("prompt", "chosen", "rejected"), texts, strict=True))
        yield ({"id": f"q{question}-{number}"} if aligned else {}) | row


def prompts(language: str) -> Iterator[dict]:
    for number, entry in enumerate(_CAPITALS[language].split("|")):
        yield {"id": f"p{number}", "prompt": f"{entry.split(' ')[1]}?"}


def files(folder: Path, language: str, aligned: bool = True, with_prompts: bool = False) -> dict:
    """Fields of `curate` for a language: files of pairs, benchmark items and prompts, written to `folder`."""
    tables = {"pairs": rows(language, 0, aligned), "items": rows(language, 1, aligned), "prompts": prompts(language)}
    (folder / language).mkdir(exist_ok=True)
    paths = {name: folder / language / f"{name}.jsonl" for name in tables}
    for name, table in tables.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in table)
        paths[name].write_text("".join(lines), encoding="utf-8")
    asked = (
        {"prompts": str(paths["prompts"]), "train_prompts": 12, "eval_prompts": 4}
        if with_prompts
        else {"prompts": None}
    )
    return {"preferences": [str(paths["pairs"])], "benchmark": str(paths["items"]), "parallel": None, **asked}
