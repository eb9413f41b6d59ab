"""The client's session and the server's, connected to each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.smtp.client.session import ClientSession
from shared.smtp.events import (
    Content,
    Data,
    Ended,
    Finished,
    Hello,
    Login,
    Mail,
    Recipient,
    ScramFinish,
    ScramStart,
    Send,
    ServerEvent,
    Stage,
    StartTls,
)
from shared.smtp.extensions import Extensions
from shared.smtp.reply import Reply
from shared.smtp.server.dialog import ServerOptions
from shared.smtp.server.session import ServerSession

REFUSALS = {
    "mail-": (Mail, Stage.MAIL),
    "rcpt-": (Recipient, Stage.RCPT),
    "data-": (Data, Stage.DATA),
    "dot-": (Content, Stage.CONTENT),
}


def policy(event: ServerEvent, prefix: str) -> Reply:
    if prefix and isinstance(event, REFUSALS[prefix][0]):
        return Reply(550, "5.7.1", "no")
    match event:
        case Data():
            return Reply(354, "", "go")
        case Content(refusal=Reply() as refusal):
            return refusal
        case Hello() | Mail() | Recipient() | Content() | StartTls() | Ended():
            return Reply(250, "2.0.0", "ok")
        case Login() | ScramStart() | ScramFinish():
            return Reply(535, "5.7.8", "no")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", *REFUSALS]),
            st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"a", b"\xc3\xa4"]), max_size=9),
        ),
        max_size=6,
    ),
    st.booleans(),
    st.integers(1, 50),
)
def test_client_and_server_agree_on_every_message(
    messages: list[tuple[str, list[bytes]]], is_pipelining: bool, size: int
) -> None:
    offered = Extensions(pipelining=is_pipelining, size=True, eight_bit_mime=True, smtputf8=True)
    server = ServerSession(ServerOptions("mx", offered))
    server.greet(Reply(220, "", "mx"))
    client = ClientSession(offered)
    taken: list[bytes] = []
    server.receive(b"EHLO me\r\n")
    for prefix, parts in [("", [b"first"]), *messages]:
        content = b"".join(parts)
        if server.next_event():
            server.answer(Reply(250))
            server.take_output()
        written = client.send_transaction("a@b.example", "c@d.example", content)
        assert isinstance(written, bytes)
        todo = [written]
        ended: list[Finished] = []
        while todo:
            data = todo.pop(0)
            for at in range(0, len(data), size):
                server.receive(data[at : at + size])
                while (event := server.next_event()) is not None:
                    reply = policy(event, prefix)
                    if isinstance(event, Content) and reply.is_positive:
                        taken.append(event.content)
                    server.answer(reply)
                for told in client.receive(server.take_output()):
                    if isinstance(told, Send):
                        todo.append(told.data)
                    else:
                        ended.append(told)
        expected = REFUSALS[prefix][1] if prefix else Stage.CONTENT
        assert [(end.stage, end.reply.is_positive) for end in ended] == [(expected, not prefix)]
        if not prefix:
            lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            lines += b"\n" if lines and not lines.endswith(b"\n") else b""
            assert taken[-1] == lines.replace(b"\n", b"\r\n")
