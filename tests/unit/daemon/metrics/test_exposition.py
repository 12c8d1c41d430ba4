"""The text format, read by Prometheus' own library, and the names by its rules."""

from __future__ import annotations

import math
import re

import pytest

from failoverd.daemon.metrics.counts import BUCKETS, Histogram
from failoverd.daemon.metrics.exposition import Exposition, labels
from failoverd.daemon.metrics.families import FAMILIES, LEVEL, OVERFLOWS, STEP_SECONDS, VIP, Family, Kind
from tests.unit.daemon.metrics.parsed import Parsed


def test_a_sample_arrives_with_its_labels_whatever_they_are() -> None:
    odd = 'a\\b "c"\nd {e}, ü'
    sheet = Exposition()
    sheet.add(VIP, labels(vrrp_instance=odd, address="2001:db8::1/64", interface="eth0.10"), True)
    sheet.add(OVERFLOWS, "", 12345678901)
    found = Parsed(b"".join(sheet.pieces()))
    found.held_against_the_declarations()
    assert found.value("vip_present", vrrp_instance=odd, address="2001:db8::1/64", interface="eth0.10") == 1
    assert found.value("fifo_overflows_total") == 12345678901
    assert b"".join(sheet.pieces()).endswith(b" 12345678901\n")


def test_one_word_is_present_or_none() -> None:
    sheet = Exposition()
    sheet.one_of(
        LEVEL, labels(vrrp_instance="VI_1", resource="web", driver="exec"), "level", ("active", "failed"), "failed"
    )
    sheet.one_of(LEVEL, labels(vrrp_instance="VI_1", resource="vpn", driver="exec"), "level", ("active",), None)
    found = Parsed(b"".join(sheet.pieces()))
    assert found.value("resource_level", vrrp_instance="VI_1", resource="web", driver="exec", level="active") == 0
    assert found.value("resource_level", vrrp_instance="VI_1", resource="web", driver="exec", level="failed") == 1
    assert found.value("resource_level", vrrp_instance="VI_1", resource="vpn", driver="exec", level="active") == 0


def test_a_histogram_is_cumulative_and_a_bound_belongs_to_its_bucket() -> None:
    durations = Histogram()
    for seconds in (0.001, 0.01, 0.02, 10_000.0):
        durations.add(seconds)
    sheet = Exposition()
    sheet.histogram(STEP_SECONDS, labels(driver="exec", verb="activate"), durations)
    found = Parsed(b"".join(sheet.pieces()))
    found.held_against_the_declarations()
    by_bound = {float(dict(its)["le"]): value for its, value in found.of("step_duration_seconds_bucket").items()}
    assert by_bound == {**dict.fromkeys(BUCKETS, 3), 0.01: 2, math.inf: 4}
    assert found.value("step_duration_seconds_count", driver="exec", verb="activate") == 4
    assert found.value("step_duration_seconds_sum", driver="exec", verb="activate") == pytest.approx(10_000.031)


def test_samples_of_one_family_stand_together() -> None:
    sheet = Exposition()
    for name in ("VI_1", "VI_2"):
        sheet.add(VIP, labels(vrrp_instance=name, address="192.0.2.1", interface="eth0"), 1)
        sheet.add(LEVEL, labels(vrrp_instance=name, resource="web", driver="exec", level="active"), 1)
    names = [
        line.partition("{")[0] for line in b"".join(sheet.pieces()).decode().splitlines() if not line.startswith("#")
    ]
    assert names == sorted(names, reverse=True)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_name_follows_the_conventions(family: Family) -> None:
    assert re.fullmatch(r"failoverd(_[a-z]+)+", family.name)
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    assert (family.kind is not Kind.HISTOGRAM) or family.name.endswith("_seconds")
    assert ("timestamp" not in family.name) or family.name.endswith("_timestamp_seconds")
    assert not family.text.endswith(".")
    assert not set(family.labels) & {"le", "job", "instance"}


def test_no_name_is_declared_twice() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
