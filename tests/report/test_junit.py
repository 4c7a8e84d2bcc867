from __future__ import annotations

from xml.etree import ElementTree

from dimbench.report import junit
from dimbench.report.findings import gather
from tests.report.records import bench, compare, every_outcome

AT = "(device cpu, device name Xeon, dtype fp32, batch {}, resolution 256)"


def test_every_outcome_has_its_element() -> None:
    root = ElementTree.fromstring(junit.render(gather([*every_outcome(), bench(), bench(seconds=None, batch=64)])))
    assert root.attrib == {"name": "dimbench", "tests": "11", "failures": "3", "errors": "2", "skipped": "2"}
    suites = [(suite.get("name"), suite.get("tests"), suite.get("errors")) for suite in root]
    assert suites == [("compare", "9", "1"), ("bench", "2", "1")]
    cases = [
        (case.get("classname"), case.get("name"), [(child.tag, child.get("message")) for child in case])
        for case in root.iter("testcase")
    ]
    assert cases == [
        ("dit-xl2", "time " + AT.format(1), [("failure", "slower, confirmed")]),
        ("dit-xl2", "FID " + AT.format(1), [("failure", "worse, confirmed")]),
        ("dit-xl2", "MACs " + AT.format(1), [("failure", "changed")]),
        ("dimsum-l2", "time " + AT.format(1), [("error", "no longer measured: NEW has no figure")]),
        ("udit-l", "time " + AT.format(1), [("skipped", "unclear: the interval is too wide to tell")]),
        ("sit-xl2", "time " + AT.format(1), [("skipped", "slower, not confirmed")]),
        ("dim-h2", "time " + AT.format(1), []),
        ("dit-xl2", "time " + AT.format(4), []),
        ("dit-xl2", "parameters " + AT.format(1), []),
        ("dit-xl2", "bench " + AT.format(1), []),
        ("dit-xl2", "bench " + AT.format(64),
         [("error", "Out of memory: batch 64 needs more than 8.00 GB; give a smaller --batch.")]),
    ]  # fmt: skip


def test_a_failure_says_by_how_much() -> None:
    root = ElementTree.fromstring(junit.render(gather([compare("slower", 1.123, confirmed=True)])))
    assert root.findtext(".//failure") == (
        "slower, confirmed\nchange +12.3 %\n95 % interval +10.3 % to +14.3 %\nmargin 5.0 %\nbase 40.00 ms\nnew 44.92 ms"
    )


def test_it_is_xml_whatever_a_name_holds() -> None:
    root = ElementTree.fromstring(junit.render(gather([bench("<a> & \x1b[0m \x00")])))
    assert root.find(".//testcase").get("classname") == "<a> & \ufffd[0m \ufffd"  # type: ignore[union-attr]
