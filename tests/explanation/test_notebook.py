"""Activations where a notebook's cell ends."""

from html.parser import HTMLParser
from typing import Any

import pytest

import nonlin as nl


class Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@nl.activation
def own(x, a=nl.Parameter(0.3, gt=0)):
    """Mine, for a < b & such."""
    return nl.where(x > 0, x, a * x)


@pytest.mark.parametrize("entry", [nl.gelu, nl.threshold, nl.swiglu, nl.softmax, nl.maxout, nl.elu.with_(alpha=2.0), own])
def test_formula_curve_and_facts(entry: nl.Activation) -> None:
    page = entry._repr_html_()
    balance = Balance()
    balance.feed(page)
    assert not balance.open
    assert entry.name in page
    assert "http" not in page.replace("http://www.w3.org", "")
    is_curve = isinstance(entry, nl.Elementwise) and entry.operands == ("x",)
    assert ("<svg" in page) == ("its slope" in page) == ("gain for weights" in page) == is_curve


def test_without_mpmath_there_is_a_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Any) -> Any:
        raise ImportError("facts need mpmath")

    monkeypatch.setattr(nl.Elementwise, "facts", property(missing))
    page = nl.gelu._repr_html_()
    assert r"$$x \, \Phi(x)$$" in page
    assert "facts need mpmath" in page


def test_who_shrinks_is_a_family() -> None:
    assert [e.name for e in nl.activations.values() if e.family == "shrinkage"] == ["tanh_shrink", "hard_shrink", "soft_shrink"]
