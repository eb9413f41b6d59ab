"""A request for no more mail is of the writer and of a list of mail; nothing else ends mail."""

from __future__ import annotations

import pytest

from shared.responses.reading import understand
from shared.responses.understood import ResponseKind
from tests.support.response_rules import RULES


def kind(text: str) -> ResponseKind:
    content = (
        "From: anna@shop.example\nSubject: Re: Autumn offers\n"
        f"Content-Type: text/plain; charset=utf-8\n\n{text}\n"
    )
    return understand(content.encode(), RULES).kind


@pytest.mark.parametrize(
    "text",
    [
        "Hello,\nplease take me off your mailing list.",
        "Please remove me from your list.",
        "remove me from this list!",
        "Could you please remove me from all of your e-mail lists?",
        "Unsubscribe me from the weekly newsletter, please.",
        "Delete me from your database",
        "Bitte streichen Sie mich aus Ihrem Verteiler.",
        "Guten Tag,\nbitte löschen Sie meine E-Mail-Adresse aus Ihrem Newsletter-Verteiler.",
        "Nehmen Sie mich bitte von Ihrer Liste.",
        "Bitte melden Sie mich vom Newsletter ab.",
        "Bonjour,\nmerci de me retirer de votre liste de diffusion.",
        "Veuillez me désabonner de cette newsletter",
        "Retirez-moi de vos listes.",
        "Por favor, elimíneme de su lista de correo.",
        "Bórrenme de la lista de distribución",
        "Buongiorno,\nvi prego di cancellarmi dalla vostra mailing list.",
        "Rimuovetemi dalla newsletter",
    ],
)
def test_a_sentence_that_asks_for_no_more_mail_is_a_request(text: str) -> None:
    assert kind(text) is ResponseKind.UNSUBSCRIBE


@pytest.mark.parametrize(
    "text",
    [
        "Hello,\nplease take me off the waiting list for the blue sofa, I bought another one.",
        "Please remove me from the guest list of Friday, I cannot come.",
        "Please remove me from your list of guests.",
        "Please delete me from the rota.",
        "Eliminé el jersey de la lista de deseos, ¿sigue disponible?",
        "Hola,\nquité dos artículos de la lista, pero el precio no cambia.",
        "Por favor, elimíneme de la lista de espera.",
        "Buongiorno,\ncancellato per errore un articolo dalla lista nozze, potete aiutarmi?",
        "Cancellatemi dalla lista d'attesa.",
        "Supprimer ma liste de souhaits est impossible, merci de m'aider",
        "Merci de retirer le manteau de ma liste de commandes",
        "Merci de me retirer de la liste d'attente.",
        "Löschen Sie meine Adresse in der Anna-Straße aus der Liste der Lieferadressen",
        "Bitte streichen Sie mich von der Gästeliste.",
        "Bitte melden Sie mich vom Kurs am Montag ab.",
    ],
)
def test_a_sentence_about_something_else_is_a_reply(text: str) -> None:
    assert kind(text) is ResponseKind.REPLY
