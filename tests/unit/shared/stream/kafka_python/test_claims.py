"""The leader assigns a claimed partition to no other member, in any round."""

from __future__ import annotations

from typing import Any, NamedTuple

from kafka.structs import TopicPartition

from shared.stream.kafka_python.claims import ClaimingAssignor

TOPIC = "mail.outbound.default"
PARTITIONS = [TopicPartition(TOPIC, number) for number in range(4)]


class Member(NamedTuple):
    member_id: str
    metadata: Any


class Cluster:
    def topics(self) -> set[str]:
        return {TOPIC}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {partition.partition for partition in PARTITIONS}


def assign(members: dict[str, ClaimingAssignor]) -> dict[str, list[TopicPartition]]:
    """One round: every member joins with its metadata and accepts the leader's assignment."""
    joined = [Member(name, assignor.metadata([TOPIC])) for name, assignor in members.items()]
    leader = next(iter(members.values()))
    given: dict[str, list[TopicPartition]] = {}
    for name, assignment in leader.assign(Cluster(), joined).items():
        given[name] = sorted(assignment.partitions())
        members[name].on_assignment(assignment, 1)
    return given


def test_a_revoked_partition_goes_to_its_new_owner_only_when_its_claim_is_released() -> None:
    first, second = ClaimingAssignor(), ClaimingAssignor()
    assert assign({"first": first}) == {"first": PARTITIONS}
    given = assign({"first": first, "second": second})
    moving = [partition for partition in PARTITIONS if partition not in given["first"]]
    assert (len(moving), given["second"]) == (2, [])
    first.claim(moving)
    for _ in range(3):
        given = assign({"first": first, "second": second})
        assert not {*given["first"], *given["second"]} & {*moving}
    first.release(moving)
    assert assign({"first": first, "second": second})["second"] == moving


def test_a_third_member_does_not_get_what_another_still_drains() -> None:
    members = {"first": ClaimingAssignor()}
    assign(members)
    members["second"] = ClaimingAssignor()
    given = assign(members)
    moving = [partition for partition in PARTITIONS if partition not in given["first"]]
    members["first"].claim(moving)
    members["third"] = ClaimingAssignor()
    given = assign(members)
    assert not set(moving) & {p for partitions in given.values() for p in partitions}


def test_a_claim_on_a_topic_without_metadata_is_kept() -> None:
    # Metadata may be missing for a moment; what is drained still belongs to this member.
    assignor = ClaimingAssignor()
    gone = TopicPartition("gone", 0)
    assignor.claim([gone, PARTITIONS[0]])
    owned = assignor.metadata([TOPIC]).owned_partitions
    assert {(part.topic, *part.partitions) for part in owned} == {gone, PARTITIONS[0]}


def test_a_member_that_leaves_still_names_its_topics_or_their_offsets_would_expire() -> None:
    assignor = ClaimingAssignor()
    assignor.leave([])
    assert list(assignor.metadata([TOPIC]).topics) == [TOPIC]
    assert assign({"first": assignor})["first"] == []


def test_a_second_join_differs_from_the_first_or_the_broker_would_not_assign_anew() -> None:
    assignor = ClaimingAssignor()
    first = assignor.metadata([TOPIC])
    assert not assignor.is_outdated
    assignor.has_joined()
    assert assignor.is_outdated
    assert assignor.metadata([TOPIC]).encode() != first.encode()
    assert not assignor.is_outdated
    assignor.has_joined()
    assert not assignor.is_outdated


def test_a_member_that_leaves_keeps_what_it_drains_and_gets_nothing_more() -> None:
    first, second = ClaimingAssignor(), ClaimingAssignor()
    members = {"first": first, "second": second}
    assign({"first": first})
    assign(members)
    assign(members)
    first.leave([PARTITIONS[0]])
    assert first.is_outdated
    given = assign(members)
    assert given["first"] == []
    assert PARTITIONS[0] not in given["second"]
    assert not first.is_outdated
    first.claim(PARTITIONS)  # the partitions that it lost in this round are not drained
    assert assign(members)["second"] == PARTITIONS[1:]
    first.release([PARTITIONS[0]])
    assert assign(members) == {"first": [], "second": PARTITIONS}
