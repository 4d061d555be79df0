"""Texts of strangers in tables and cards: inert, and the same when they are taken back."""

import pytest
import yaml

from simba_music.files.inert import front_value, inert, one_line


@pytest.mark.fault("P4", "=HYPERLINK( exported to CSV")
@pytest.mark.fault("R13", "=HYPERLINK( and its like in exported tables")
@pytest.mark.parametrize(
    "text",
    ['=HYPERLINK("http://x","y")', "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''+1"],
)
def test_what_begins_like_a_formula_is_inert_and_comes_back(text):
    assert inert(text) == "'" + text and inert(text)[1:] == text


@pytest.mark.parametrize(
    "value", ["calm piano", "it's", "'quoted'", "a=b", "", -3, 1.5, None, True]
)
def test_nothing_else_changes(value):
    assert inert(value) == value


@pytest.mark.fault("R13", "licence text with front matter in cards")
@pytest.mark.parametrize(
    "text", ["cc-by-4.0", "MIT\n---\n# Mine", "a: b", "[x]", "no", '"q"', "é", "x #y", "null"]
)
def test_a_value_of_front_matter_stays_one_value(text):
    card = f"---\nlicense: {front_value(text)}\ntags: [a]\n---\n"
    (head,) = [part for part in card.split("---\n") if part]
    read = yaml.safe_load(head)
    assert set(read) == {"license", "tags"} and "\n" not in front_value(text)
    assert str(read["license"]) == one_line(text)


def test_a_line_is_one_line():
    assert one_line(" a\n\n# b\r\n---\t c ") == "a # b --- c"
