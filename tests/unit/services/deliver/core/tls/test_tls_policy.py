"""Which TLS policy applies to a server: precedence, patterns, what is asked."""

from __future__ import annotations

import pytest

from services.deliver.core.tls.policy import (
    ANY_TLS,
    OPPORTUNISTIC_TLS,
    Dane,
    DaneFault,
    DaneKeys,
    DomainTls,
    HostTls,
    Level,
    NoDane,
    PolicyName,
    StsMode,
    StsPolicy,
    Tlsa,
    domain_tls,
    host_tls,
    matches,
    strictest,
)

KEYS = DaneKeys((Tlsa(3, 1, 1, b"x" * 32),), ("mx.d.example",))
UNUSABLE = DaneKeys((), ("mx.d.example",))
HERE = ("mx.d.example", "*.other.example")
AWAY = ("mx.e.example",)


def sts(mode: StsMode, mx: tuple[str, ...] = HERE) -> StsPolicy:
    return StsPolicy(mode, 86_400, mx)


ENFORCE, TESTING, NONE = map(sts, (StsMode.ENFORCE, StsMode.TESTING, StsMode.NONE))
ENFORCE_AWAY, TESTING_AWAY = (sts(mode, AWAY) for mode in (StsMode.ENFORCE, StsMode.TESTING))
ABSENT = NoDane()
REQUIRED, VERIFIED = Level.REQUIRED, Level.VERIFIED
ANY, STS, TRIAL = PolicyName.OPPORTUNISTIC, PolicyName.MTA_STS, PolicyName.MTA_STS_TESTING
STRICT = "required verified"

# The operator's level, the MTA-STS policy, the TLSA records; the policy, and what of required,
# verified, dane, trial and fault holds.
CASES: list[tuple[str, Level | None, StsPolicy | None, Dane, PolicyName, str]] = [
    ("nothing", None, None, ABSENT, ANY, ""),
    ("required", REQUIRED, None, ABSENT, PolicyName.REQUIRED, "required"),
    ("verified", VERIFIED, None, ABSENT, PolicyName.VERIFIED, STRICT),
    ("enforce", None, ENFORCE, ABSENT, STS, STRICT),
    ("testing", None, TESTING, ABSENT, TRIAL, "verified trial"),
    ("mode none", None, NONE, ABSENT, ANY, ""),
    ("dane", None, None, KEYS, PolicyName.DANE, "required dane"),
    ("unusable records ask for encryption", None, None, UNUSABLE, PolicyName.DANE, "required dane"),
    ("bogus", None, None, DaneFault("bogus"), PolicyName.DANE, "required fault"),
    ("dane before enforce", None, ENFORCE, KEYS, PolicyName.DANE, "required dane"),
    ("bogus before enforce", None, ENFORCE, DaneFault("x"), PolicyName.DANE, "required fault"),
    ("dane before testing", None, TESTING, KEYS, PolicyName.DANE, "required dane"),
    ("dane before verified", VERIFIED, None, KEYS, PolicyName.DANE, "required dane"),
    (
        "enforce before required",
        REQUIRED,
        ENFORCE,
        NoDane(),
        STS,
        STRICT,
    ),
    ("required before testing", REQUIRED, TESTING, ABSENT, PolicyName.REQUIRED, "required"),
    (
        "verified before testing",
        VERIFIED,
        TESTING,
        NoDane(),
        PolicyName.VERIFIED,
        STRICT,
    ),
    (
        "opportunistic switches MTA-STS off",
        Level.OPPORTUNISTIC,
        ENFORCE,
        NoDane(),
        ANY,
        "",
    ),
    (
        "not named",
        None,
        ENFORCE_AWAY,
        NoDane(),
        STS,
        STRICT + " fault",
    ),
    (
        "not named in a trial",
        None,
        TESTING_AWAY,
        NoDane(),
        TRIAL,
        "verified trial fault",
    ),
]


def asked(tls: HostTls) -> str:
    words = {
        "required": tls.is_required,
        "verified": tls.is_verified,
        "dane": tls.dane is not None,
        "trial": tls.is_trial,
        "fault": bool(tls.fault),
    }
    return " ".join(word for word, holds in words.items() if holds)


@pytest.mark.parametrize(
    ("level", "policy", "dane", "name", "expected"),
    [c[1:] for c in CASES],
    ids=[c[0] for c in CASES],
)
def test_the_strictest_policy_applies(
    level: Level | None, policy: StsPolicy | None, dane: Dane, name: PolicyName, expected: str
) -> None:
    found = host_tls(domain_tls(level, policy), "mx.d.example", dane)
    assert (found.policy, asked(found)) == (name, expected)


def test_every_policy_has_a_case() -> None:
    assert {case[4] for case in CASES} == set(PolicyName)


def test_nothing_asked_is_opportunistic_without_a_pool_of_its_own() -> None:
    assert domain_tls(None, None) == ANY_TLS
    assert ANY_TLS.key == domain_tls(None, NONE).key == domain_tls(Level.OPPORTUNISTIC, ENFORCE).key
    assert ANY_TLS.key == ""
    assert host_tls(ANY_TLS, "mx.d.example", NoDane()) is OPPORTUNISTIC_TLS


def test_domains_that_ask_for_the_same_share_connections_and_others_do_not() -> None:
    younger = StsPolicy(StsMode.ENFORCE, 1, HERE)
    assert domain_tls(None, ENFORCE) == domain_tls(None, younger)
    keys = [
        domain_tls(level, policy).key
        for level in (None, REQUIRED, Level.VERIFIED)
        for policy in (None, ENFORCE, TESTING, ENFORCE_AWAY)
    ]
    assert len(set(keys)) == len(keys)
    assert DomainTls(Level.REQUIRED).key == "required"


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("mx.d.example", "mx.d.example", True),
        ("mx.d.example", "mx2.d.example", False),
        ("*.d.example", "mx.d.example", True),
        ("*.d.example", "d.example", False),
        ("*.d.example", "a.mx.d.example", False),
        ("*.d.example", ".d.example", False),
        ("*.d.example", "mxd.example", False),
        ("d.example", "mx.d.example", False),
    ],
)
def test_a_star_stands_for_one_label(pattern: str, host: str, expected: bool) -> None:
    assert matches(pattern, host) is expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((), None),
        ((None, None), None),
        ((None, Level.OPPORTUNISTIC), Level.OPPORTUNISTIC),
        ((Level.OPPORTUNISTIC, Level.REQUIRED), Level.REQUIRED),
        ((VERIFIED, Level.REQUIRED), Level.VERIFIED),
    ],
)
def test_of_two_levels_the_stricter_one_applies(
    levels: tuple[Level | None, ...], expected: Level | None
) -> None:
    assert strictest(*levels) is expected
