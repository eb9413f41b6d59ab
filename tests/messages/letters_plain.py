"""Letters with one text part that keep every rule, in many scripts and encodings."""

from __future__ import annotations

from tests.messages import texts as t
from tests.messages.building import Letter, lines, message, standard, text_body, word

LONG = (
    "Nur noch heute: 20 % auf Mäntel, Blusen, Tücher, Schuhe und alles, was Sie für den Frühling "
    "brauchen, dazu versandkostenfrei"
)
TO_YAMADA = f"{word('山田太郎', 'iso-2022-jp')} <taro.yamada@kunde.example>"
TO_AHMAD = f"{word('محمد الأحمد')} <m.alahmad@kunde.example>"
TO_JUERGEN = "Jürgen Weiß <juergen@kunde.example>"


def european() -> list[Letter]:
    """English, German, French and Russian."""
    subject = word("Frühjahrsmode: 20 % auf alles")
    latin_subject, french = word("Grüße", "iso-8859-1", "Q"), word("L'été", "windows-1252", "Q")
    latin = text_body(t.GERMAN.replace("–", "-"), "iso-8859-1", "8bit")
    in_base64 = text_body(t.GERMAN, encoding="base64")
    eight_bit = text_body(t.GERMAN, "utf-8", "8bit")
    russian = text_body(t.RUSSIAN, "koi8-r", "8bit")
    bare = standard("Order 4711", 2, "news@news.shop.example", "a@b.example")
    raw = standard("Frühjahrsmode für Jürgen", 13, to=TO_JUERGEN)
    return [
        Letter("plain-english", message(standard("Your order is on its way", 1), t.PLAIN)),
        Letter("plain-no-names", message(bare, t.PLAIN)),
        Letter("plain-german-qp", message(standard(subject, 3), text_body(t.GERMAN))),
        Letter("plain-german-8bit", message(standard(subject, 4), eight_bit)),
        Letter("plain-german-latin1", message(standard(latin_subject, 5), latin)),
        Letter("plain-german-base64", message(standard(subject, 6), in_base64)),
        Letter("plain-french", message(standard(french, 7), text_body(t.FRENCH, "windows-1252"))),
        Letter("plain-russian-koi8-r", message(standard(word("Скидки", "koi8-r"), 12), russian)),
        Letter("plain-utf8-headers", message(raw, eight_bit), note="raw UTF-8, RFC 6532"),
        Letter("plain-long-subject", message(standard(word(LONG), 15), t.PLAIN)),
    ]


def asian() -> list[Letter]:
    """Japanese, Arabic and Chinese."""
    subject = "春の新作のお知らせ"
    old = standard(word(subject, "iso-2022-jp"), 9, to=TO_YAMADA)
    shift = lines(standard(word("春の新作", "shift_jis"), 14), "X-bm-mailing: SPRING26")
    in_base64 = text_body(t.JAPANESE, encoding="base64")
    in_shift = text_body(t.JAPANESE, "shift_jis", "base64")
    arabic = standard(word("عروض الربيع"), 10, to=TO_AHMAD)
    chinese = standard(word("春季新品", "gb18030"), 11)
    return [
        Letter("plain-japanese-utf8", message(standard(word(subject), 8), in_base64)),
        Letter(
            "plain-japanese-iso-2022-jp", message(old, text_body(t.JAPANESE, "iso-2022-jp", "7bit"))
        ),
        Letter("plain-japanese-shift-jis", message(shift, in_shift), code="SPRING26"),
        Letter("plain-arabic", message(arabic, text_body(t.ARABIC, encoding="base64"))),
        Letter(
            "plain-chinese-gb18030", message(chinese, text_body(t.CHINESE, "gb18030", "base64"))
        ),
    ]


def plain_letters() -> list[Letter]:
    """All of them."""
    return european() + asian()
