"""The contents of the letters: texts in many scripts, pages, pictures, sizes."""

from __future__ import annotations

import random

from tests.messages import building as b
from tests.messages.building import Body, message, multipart, text_body
from tests.messages.pictures import gradient_png, jpeg, png

GERMAN = (
    "Hallo Max,\n\nunsere Frühjahrsmode ist da: Mäntel, Blusen und schöne Tücher – nur für kurze "
    "Zeit mit 20 % Nachlass.\n\nHerzliche Grüße\nDein Team von Shop Example\n"
)
ENGLISH = (
    "Hello Max,\n\nyour order 4711-0815 has left our warehouse and should reach you on Thursday.\n"
    "\nKind regards\nShop Example\n"
)
JAPANESE = "いつもご利用いただきありがとうございます。\n\n春の新作が入荷しました。\n\n編集部\n"
ARABIC = "مرحبا،\n\nوصلت عروض الربيع إلى متجرنا. خصم ٢٠٪ على كل شيء.\n\nمع أطيب التحيات\n"
CHINESE = "您好，\n\n春季新品现已上架，全场八折。\n\n此致\n敬礼\n"
RUSSIAN = "Здравствуйте!\n\nВесенние скидки уже начались.\n\nС уважением\n"
FRENCH = "Bonjour,\n\nles soldes d'été commencent demain à 8 heures.\n\nÀ bientôt\n"
PLAIN = text_body(ENGLISH, "us-ascii", "7bit")

UNSUBSCRIBE = (
    "List-Unsubscribe: <https://www.shop.example/u/9f8e7d6c5b4a>,\n"
    " <mailto:abmelden@news.shop.example?subject=9f8e7d6c5b4a>\n"
    "List-Unsubscribe-Post: List-Unsubscribe=One-Click"
)
BULK = f"{UNSUBSCRIBE}\nList-Id: Newsletter <newsletter.news.shop.example>\nPrecedence: bulk"


def both(text: str, title: str, charset: str = "utf-8", rows: int = 6) -> Body:
    """Text and page, as in newsletters."""
    page = text_body(b.html(title, text, rows), charset, "quoted-printable", "html")
    return multipart("alternative", "=_alt_5f3a91", [text_body(text, charset), page])


def with_pictures(text: str, title: str) -> Body:
    """A page with an embedded JPEG and PNG."""
    page = b.html(title, f'<img src="cid:kopf@shop"> {text} <img src="cid:fuss@shop">')
    parts = [
        text_body(page, kind="html"),
        b.file_body("image/jpeg", "kopf.jpg", jpeg(24, 8), "kopf@shop"),
        b.file_body("image/png", "fuss.png", gradient_png(32), "fuss@shop"),
    ]
    return multipart("related", "----=_NextPart_000_0012", parts)


def noise_png(size_bytes: int, seed: int) -> bytes:
    """An incompressible picture of about this size."""
    side = int(size_bytes**0.5)
    return png(side, side, random.Random(seed).randbytes(side * side))


def sized(head: str, size_bytes: int) -> bytes:
    """A message of exactly this size."""
    start = message(head, text_body(ENGLISH, "us-ascii", "7bit"))
    line = b"0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789\r\n"
    missing = size_bytes - len(start)
    return start + (line * (missing // len(line) + 1))[: missing - 2] + b"\r\n"
