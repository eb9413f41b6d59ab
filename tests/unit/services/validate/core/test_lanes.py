import pytest

from services.validate.core.lanes import Lanes, pack_by_partition
from shared.registry.block_list import blocked_by
from shared.topics.records import Envelope, Facts, Message, Origin


def to(recipient: str) -> Message:
    return Message(Envelope("0" * 26, "shop", "", recipient, "", 0, Origin(), Facts()), b"x")


def test_a_domain_goes_by_its_providers_lane_and_all_others_by_default() -> None:
    lanes = Lanes({"gmail": ["gmail.com", "GoogleMail.com"]})
    assert lanes.names == ("default", "gmail")
    assert [lanes.lane_of(d) for d in ("gmail.com", "googlemail.com", "sub.gmail.com", "x.de")] == [
        "gmail",
        "gmail",
        "default",
        "default",
    ]


def test_the_mail_of_one_domain_keeps_to_one_partition() -> None:
    placed = pack_by_partition([to(f"a{n}@one.example") for n in range(40)], 8)
    assert len(placed) == 1


def test_a_hot_domain_is_spread_pack_after_pack() -> None:
    messages = [to(f"a{n}@hot.example") for n in range(640)]
    placed = pack_by_partition(messages, 8)
    assert {partition for partition, _ in placed} == set(range(8))
    assert sum(len(pack) for _, pack in placed) == 640


@pytest.mark.parametrize(
    ("recipient", "patterns", "expected"),
    [
        ("a@b.example", (), ""),
        ("a@b.example", ("a@b.example",), "a@b.example"),
        ("A@B.Example", ("a@b.example",), "a@b.example"),
        ("a@b.example", ("*@B.example",), "*@B.example"),
        ("a@sub.b.example", ("*@b.example",), ""),
        ("ab@b.example", ("?@b.example",), ""),
        ("ab@b.example", ("x", "a?@*"), "a?@*"),
        ("a+b@b.example", ("a+b@b.example",), "a+b@b.example"),
        ("ab@b.example", ("a.@b.example",), ""),
        ("a@b.example", ("[a]@b.example",), ""),
        ("a[1]@b.example", ("a[1]@*",), "a[1]@*"),
    ],
)
def test_a_block_list_knows_stars_and_question_marks_and_nothing_else(
    recipient: str, patterns: tuple[str, ...], expected: str
) -> None:
    assert blocked_by(recipient, patterns) == expected
