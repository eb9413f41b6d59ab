import pytest

from shared.topics.codec import decode_event, decode_pack, decode_returned
from shared.topics.records import Event, EventType
from shared.topics.suppressions import decode_suppression, key_of
from tests.contract import golden

FROZEN = golden.load()


@pytest.mark.parametrize("name", [name for name in FROZEN if name.startswith("pack-")])
def test_a_pack_once_written_is_still_read(name: str) -> None:
    assert decode_pack(*FROZEN[name]) == [golden.PACKED[name]] * 2


def test_the_pack_that_is_written_now_is_frozen() -> None:
    assert f"pack-{golden.PACK_FORMAT}" in FROZEN


@pytest.mark.parametrize("name", [name for name in FROZEN if name.startswith("tally-")])
def test_a_tally_once_written_is_still_read(name: str) -> None:
    value, headers = FROZEN[name]
    assert decode_event(headers, value) == golden.TALLIED[name]


@pytest.mark.parametrize("name", [name for name in FROZEN if name.startswith("returned_mail-")])
def test_returned_mail_once_written_is_still_read(name: str) -> None:
    assert decode_returned(*FROZEN[name]) == golden.RETURNED


@pytest.mark.parametrize("kind", EventType)
def test_an_event_once_written_is_still_read(kind: EventType) -> None:
    names = [name for name in FROZEN if name.rpartition("-")[0] == kind.value]
    assert names
    for name in names:
        value, headers = FROZEN[name]
        event = decode_event(headers, value)
        assert isinstance(event, Event)
        assert (event.type, event.subject, event.data) == (
            kind,
            golden.MESSAGE.envelope.mail_id,
            golden.EVENT,
        )


@pytest.mark.parametrize("name", golden.SUPPRESSIONS)
def test_a_suppression_once_written_is_still_read_and_replaced(name: str) -> None:
    value, headers = FROZEN[name]
    record = decode_suppression(value)
    assert record == golden.SUPPRESSIONS[name]
    assert headers == [("key", key_of(record))]
