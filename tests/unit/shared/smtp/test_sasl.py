"""The server side of PLAIN, LOGIN and SCRAM-SHA-256; the example of RFC 7677."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.smtp.errors import LocalProtocolError
from shared.smtp.events import Login, ScramFinish, ScramStart
from shared.smtp.server.sasl import (
    MAX_NAME_OCTETS,
    MAX_NONCE_OCTETS,
    MAX_PASSWORD_OCTETS,
    Challenge,
    LoginExchange,
    Mechanism,
    Plain,
    SaslFault,
    Scram,
    ScramKeys,
    ScramOffer,
    Step,
    decode_base64,
    prepare,
)
from tests.support.scram_client import SALT, ScramClient, offer_of

# RFC 7677, 3.
CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
NONCE = (CLIENT_NONCE + SERVER_NONCE).encode()
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=" + NONCE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
PROOF = b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
CLIENT_FINAL = b"c=biws,r=" + NONCE + b",p=" + PROOF
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
PENCIL = offer_of("pencil")


@pytest.mark.parametrize(
    ("response", "step"),
    [
        (b"\0acme\0secret", Login("acme", "secret")),
        (b"acme\0acme\0secret", Login("acme", "secret")),
        (b"beta\0acme\0secret", SaslFault.OTHER),
        (b"\xff\0acme\0secret", SaslFault.OTHER),
        (b"\0acme\0", SaslFault.NAME),
        (b"\0\0secret", SaslFault.NAME),
        (b"\0ac\nme\0secret", SaslFault.NAME),
        (b"\0acme\0sec\x7fret", SaslFault.NAME),
        ("\0acme\0sec\u0085ret".encode(), SaslFault.NAME),
        (b"\0acme\0\xff", SaslFault.NAME),
        (b"\0" + b"a" * MAX_NAME_OCTETS + b"\0s", Login("a" * MAX_NAME_OCTETS, "s")),
        (b"\0" + b"a" * (MAX_NAME_OCTETS + 1) + b"\0s", SaslFault.NAME),
        (b"\0a\0" + b"s" * MAX_PASSWORD_OCTETS, Login("a", "s" * MAX_PASSWORD_OCTETS)),
        (b"\0a\0" + b"s" * (MAX_PASSWORD_OCTETS + 1), SaslFault.NAME),
        # Compatibility characters are replaced by their equivalents; some become eighteen.
        ("\0ａcme\0ﬁsh".encode(), Login("acme", "fish")),
        ("\0a\0" + "\ufdfa" * 300, SaslFault.NAME),
        (b"", SaslFault.MESSAGE),
        (b"acme", SaslFault.MESSAGE),
        (b"acme\0secret", SaslFault.MESSAGE),
        (b"\0acme\0secret\0", SaslFault.MESSAGE),
    ],
)
def test_plain_takes_three_parts_of_bounded_text(response: bytes | str, step: Step) -> None:
    assert Plain().prompt() == Challenge(b"")
    data = response.encode() if isinstance(response, str) else response
    assert Plain().receive(data) == step


@pytest.mark.parametrize(
    ("responses", "steps"),
    [
        ([b"acme", b"secret"], [Challenge(b"Password:"), Login("acme", "secret")]),
        ([b"acme", b""], [Challenge(b"Password:"), SaslFault.NAME]),
        ([b"acme", b"a\0b"], [Challenge(b"Password:"), SaslFault.NAME]),
        ([b"acme", b"s" * 1025], [Challenge(b"Password:"), SaslFault.NAME]),
        ([b""], [SaslFault.NAME]),
        ([b"a" * 256], [SaslFault.NAME]),
        ([b"\xc3"], [SaslFault.NAME]),
    ],
)
def test_login_takes_the_name_and_then_the_password(
    responses: list[bytes], steps: list[Step]
) -> None:
    exchange = LoginExchange()
    assert exchange.prompt() == Challenge(b"Username:")
    assert [exchange.receive(response) for response in responses] == steps


def started(offer: ScramOffer = PENCIL, first: bytes = CLIENT_FIRST) -> Scram:
    exchange = Scram(SERVER_NONCE)
    assert isinstance(exchange.receive(first), ScramStart)
    exchange.offer(offer)
    return exchange


def test_the_example_of_rfc_7677_is_spoken_to_the_letter() -> None:
    exchange = Scram(SERVER_NONCE)
    assert exchange.receive(CLIENT_FIRST) == ScramStart("user")
    assert exchange.offer(PENCIL) == Challenge(SERVER_FIRST)
    assert exchange.receive(CLIENT_FINAL) == Challenge(SERVER_FINAL)
    assert exchange.receive(b"") == ScramFinish("user", 0)


@pytest.mark.parametrize(
    ("valid", "used", "index"),
    [
        (["pencil"], "pencil", 0),
        (["new", "pencil"], "pencil", 1),
        (["new", "pencil"], "new", 0),
        (["same", "same"], "same", 0),
        (["new", "old"], "pencil", None),
        (["pencil"], "Pencil", None),
        ([], "pencil", None),
    ],
)
def test_a_proof_is_right_for_one_of_the_valid_passwords(
    valid: list[str], used: str, index: int | None
) -> None:
    client, exchange = ScramClient("user", used), Scram("server")
    assert exchange.receive(client.first()) == ScramStart("user")
    step = exchange.receive(client.final(exchange.offer(offer_of(*valid)).data))
    if index is not None:
        assert isinstance(step, Challenge)
        assert client.is_right(step.data)
        step = exchange.receive(b"")
    assert step == ScramFinish("user", index)


def test_keys_of_zeros_open_no_door_for_an_unknown_name() -> None:
    exchange = started(ScramOffer(SALT, 1, ()))
    assert exchange.receive(CLIENT_FINAL) == ScramFinish("user", None)


@pytest.mark.parametrize(
    ("first", "step"),
    [
        (b"n,,n=user,r=x", ScramStart("user")),
        (b"y,,n=user,r=x", ScramStart("user")),
        (b"n,a=user,n=user,r=x", ScramStart("user")),
        (b"n,,n=user,r=x,z=later", ScramStart("user")),
        (b"n,,n=a=2Cb=3D2C,r=x", ScramStart("a,b=2C")),
        ("n,,n=ｕser,r=x".encode(), ScramStart("user")),
        (b"n,,n=user,r=" + b"x" * MAX_NONCE_OCTETS, ScramStart("user")),
        (b"n,,n=user,r=" + b"x" * (MAX_NONCE_OCTETS + 1), SaslFault.MESSAGE),
        (b"p=tls-exporter,,n=user,r=x", SaslFault.BINDING),
        (b"n,a=other,n=user,r=x", SaslFault.OTHER),
        (b"n,a==,n=user,r=x", SaslFault.OTHER),
        (b"n,,n=a=2cb,r=x", SaslFault.NAME),
        (b"n,,n=a=,r=x", SaslFault.NAME),
        (b"n,,n=\xff,r=x", SaslFault.NAME),
        (b"n,,n=" + b"a" * 256 + b",r=x", SaslFault.NAME),
        (b"", SaslFault.MESSAGE),
        (b"n=user,r=x", SaslFault.MESSAGE),
        (b"N,,n=user,r=x", SaslFault.MESSAGE),
        (b"n,,n=,r=x", SaslFault.MESSAGE),
        (b"n,,n=user,r=", SaslFault.MESSAGE),
        (b"n,,n=user,r=a b", SaslFault.MESSAGE),
        (b"n,,n=user", SaslFault.MESSAGE),
        (b"n,,r=x,n=user", SaslFault.MESSAGE),
        (b"n,,m=must,n=user,r=x", SaslFault.MESSAGE),
        (b"n,,n=user,r=x,", SaslFault.MESSAGE),
        (b"n,,n=user,r=x\n", SaslFault.MESSAGE),
    ],
)
def test_a_client_first_message_is_read_strictly(first: bytes, step: Step) -> None:
    assert Scram(SERVER_NONCE).receive(first) == step


@pytest.mark.parametrize(
    "final",
    [
        b"",
        b"c=biws,r=" + NONCE,
        b"c=biws,r=" + NONCE[:-1] + b",p=" + PROOF,
        b"c=biws,r=" + NONCE + b"x,p=" + PROOF,
        b"c=eSws,r=" + NONCE + b",p=" + PROOF,  # "y,," instead of the "n,," sent before
        b"r=" + NONCE + b",c=biws,p=" + PROOF,
        b"c=biws,r=" + NONCE + b",p=" + PROOF[:-1],
        b"c=biws,r=" + NONCE + b",p=AAAA",
        b"c=biws,r=" + NONCE + b",p=" + PROOF + b",x=1",
        b"c=biws,r=" + NONCE + b",p=" + PROOF + b",p=" + PROOF,
        CLIENT_FINAL + b"\n",
        CLIENT_FIRST,
    ],
)
def test_a_client_final_message_is_read_strictly(final: bytes) -> None:
    exchange = started()
    assert exchange.receive(final) is SaslFault.MESSAGE
    assert exchange.receive(CLIENT_FINAL) is SaslFault.MESSAGE


def test_what_the_client_signs_is_what_is_checked() -> None:
    extended = b"c=biws,r=" + NONCE + b",z=added,p=" + PROOF
    assert started().receive(extended) == ScramFinish("user", None)


def test_the_last_line_of_a_client_is_empty() -> None:
    exchange = started()
    exchange.receive(CLIENT_FINAL)
    assert exchange.receive(b"x") is SaslFault.MESSAGE
    assert exchange.receive(b"") is SaslFault.MESSAGE


@pytest.mark.parametrize("nonce", ["", "a,b", "a b", "ä", "a\n"])
def test_a_nonce_of_ours_that_would_break_the_message_is_our_fault(nonce: str) -> None:
    with pytest.raises(LocalProtocolError):
        Scram(nonce)


@pytest.mark.parametrize(
    "offer",
    [
        ScramOffer(b"", 4096, ()),
        ScramOffer(b"s", 0, ()),
        ScramOffer(b"s", 4096, (ScramKeys(b"", b""),)),
        ScramOffer(b"s", 4096, (ScramKeys(bytes(32), bytes(31)),)),
    ],
)
def test_an_offer_that_cannot_be_made_is_our_fault(offer: ScramOffer) -> None:
    exchange = Scram(SERVER_NONCE)
    exchange.receive(CLIENT_FIRST)
    with pytest.raises(LocalProtocolError):
        exchange.offer(offer)


@pytest.mark.parametrize(
    "text", [b"=", b"a", b"ab", b"abc", b"ab==", b"abcd ", b"ab\ncd", b"a===", b"abcd=", b"\xff"]
)
def test_base64_is_strict(text: bytes) -> None:
    assert decode_base64(text) is None


@given(st.binary(max_size=60))
def test_base64_that_is_read_is_what_would_be_written(text: bytes) -> None:
    data = decode_base64(text)
    assert data is None or len(data) == len(text) // 4 * 3 - text.count(b"=")


@given(st.text(max_size=40))
def test_a_prepared_text_stays_as_it_is(text: str) -> None:
    form = prepare(text, 100)
    assert form is None or prepare(form, 100) == form


def test_secrets_are_not_shown() -> None:
    shown = repr([Login("acme", "sesame"), PENCIL])
    assert "sesame" not in shown
    assert repr(PENCIL.keys[0].server_key) not in shown


_PIECES = st.sampled_from([
    CLIENT_FIRST, CLIENT_FINAL, b"n,,", b"n=user", b",", b"=", b"r=", NONCE, b"p=", PROOF,
    b"c=biws", b"\0", b"\xff", b"acme", b"",
])  # fmt: skip


@given(
    st.sampled_from([Plain, LoginExchange, lambda: Scram(SERVER_NONCE), started]),
    st.lists(st.one_of(st.binary(max_size=40), st.lists(_PIECES).map(b"".join)), max_size=4),
)
def test_no_response_raises(make: type[Mechanism], responses: list[bytes]) -> None:
    exchange = make()
    for response in responses:
        step = exchange.receive(response)
        assert isinstance(step, Challenge | Login | ScramStart | ScramFinish | SaslFault)
        if isinstance(step, ScramStart) and isinstance(exchange, Scram):
            exchange.offer(PENCIL)
