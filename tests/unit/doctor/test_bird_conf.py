"""The uses of the symbol in bird.conf: in a filter, in a function, or where a new value restarts a session."""

from pathlib import Path

import pytest

from failoverd.doctor import bird

_SYMBOL = "failover_metric"


def _read(tmp_path: Path, text: str) -> bird.Text:
    (tmp_path / "bird.conf").write_text(text)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/filter.conf").write_text(
        "filter f { # failover_metric\n  bgp_med = failover_metric; accept; }\n"
    )
    return bird.read(tmp_path / "bird.conf")


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("protocol bgp up { export filter { bgp_med = failover_metric; accept; }; }", ""),
        ("protocol bgp up { ipv4 { export where failover_metric < 200; }; }", ""),
        ("function set() { bgp_med = failover_metric; }", "set"),
        ("filter out\n{\n  if net = 192.0.2.0/24 then { bgp_med = failover_metric; }\n}", "out"),
        ('protocol ospf { area 0 { interface "eth0" { cost failover_metric; }; }; }', None),
    ],
)
def test_a_use_names_its_filter(tmp_path: Path, text: str, within: str | None) -> None:
    found, _ = bird.uses(_read(tmp_path, f"define failover_metric = 300;\n{text}"), _SYMBOL)
    assert [each.within for each in found] == [within]


def test_comments_and_strings_are_no_uses(tmp_path: Path) -> None:
    text = '# failover_metric;\n/* failover_metric;\n*/ log "failover_metric # x" all;\n'
    assert bird.uses(_read(tmp_path, text), _SYMBOL) == ([], {"all", '"failover_metric # x"'})


def test_an_included_file_counts_with_its_own_lines(tmp_path: Path) -> None:
    text = _read(tmp_path, 'include "parts/*.conf";\nprotocol bgp up { export filter f; }\n')
    found, used = bird.uses(text, _SYMBOL)
    assert [each.at for each in found] == [f"{tmp_path}/parts/filter.conf:2"]
    assert "f" in used
    assert text.includes == (f"{tmp_path}/parts/*.conf", f"{tmp_path}/parts/filter.conf")


def test_a_function_that_a_filter_calls_is_used(tmp_path: Path) -> None:
    text = _read(tmp_path, "function set() { bgp_med = failover_metric; }\nfilter out { set(); accept; }\n")
    assert "set" in bird.uses(text, _SYMBOL)[1]
