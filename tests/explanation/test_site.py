"""The written site: complete, linked, and without an address."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import nonlin as nl
from nonlin.cli import app
from nonlin.definition.decorator import define
from nonlin.explanation import ExploreError, site, write_site
from nonlin.explanation.entries import Entry
from pages import needs_node, run, tuesday

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """What a page links to, and whether its tags are balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [value for key in ("href", "src") if (value := given.get(key)) is not None]
        self.ids += [given["id"] or ""] if "id" in given else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # of SVG and MathML

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_page_is_whole_and_every_link_leads_somewhere(small_site: Path) -> None:
    pages = sorted(small_site.rglob("*.html"))
    assert len(pages) == 2 + len(site.LABS) + 14
    for path in pages:
        page = Page(path)
        assert page.open == []
        assert len(page.ids) == len(set(page.ids))
        for link in page.links:
            target = link.partition("#")[0]
            if target and not target.startswith("data:"):
                # Relatives that this small site leaves out are in the whole one.
                assert (path.parent / target).resolve().is_file() or Path(target).stem in nl.activations, (path, link)


def test_nothing_comes_from_elsewhere(small_site: Path) -> None:
    for path in small_site.rglob("*.*"):
        text = re.sub(r"http://www.w3.org/(1998/Math/MathML|2000/svg)", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"https?:|//[a-z]+\.[a-z]", text), path


def test_a_page_says_what_is_known(small_site: Path) -> None:
    text = (small_site / "entries" / "gelu.html").read_text(encoding="utf-8")
    for part in (
        "x*normal_cdf(x)",
        "<math",
        "<svg",
        "-0.169971 at -0.751792",
        "jax.nn.gelu(x, approximate=False)",
        "nn.GELU()",
    ):
        assert part in text
    assert "std=1.5335 / inputs**0.5" in text
    assert "value at -inf is nan" in text
    assert "Hendrycks" in text


def test_a_users_own_has_its_page(small_site: Path) -> None:
    assert "tanh(log(1 + exp(" in (small_site / "entries" / "tuesday.html").read_text(encoding="utf-8")
    assert 'href="entries/tuesday.html"' in (small_site / "index.html").read_text(encoding="utf-8")


@needs_node
def test_a_users_own_runs_in_the_page(small_site: Path) -> None:
    scripts = "".join((small_site / f"{name}.js").read_text(encoding="utf-8") for name in ("language", "catalogue"))
    points = np.linspace(-30, 30, 61)
    got = run(f"{scripts} answer(CATALOGUE.tuesday.functions.map(f => {points.tolist()}.map(x => f(x, 1.5))));")
    for order, values in enumerate(got):
        want = define(tuesday).derivative(points, beta=1.5, order=order)
        np.testing.assert_allclose(values, want, rtol=1e-13, atol=1e-15)


def test_sliders_stay_within_bounds() -> None:
    for name, entry in nl.activations.items():
        if Entry(entry).is_curve:
            for slider in Entry(entry).sliders:
                assert slider["low"] <= slider["default"] <= slider["high"], name
                for value in (slider["low"], slider["high"]):
                    if value != slider["avoid"]:
                        others = Entry(entry).defaults
                        if not any(isinstance(b, str) for p in entry.parameters.values() for b in p.bounds.values()):
                            entry.check(**others | {slider["name"]: value})


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "activations", {"relu": nl.relu})
    mine = tmp_path / "mine.py"
    mine.write_text("import nonlin as nl\n@nl.activation\ndef explored(x, a=2.0):\n    return a * nl.tanh(x)\n")
    done = CliRunner().invoke(app, ["explore", f"{mine}:explored", "--out", str(tmp_path / "out"), "--no-open"])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == str(tmp_path / "out" / "entries" / "explored.html")
    assert "a*tanh(x)" in Path(done.output.splitlines()[-1]).read_text(encoding="utf-8")
    refused = CliRunner().invoke(app, ["explore", "--out", str(mine / "x"), "--no-open"])
    assert refused.exit_code == 1
    assert "cannot write" in refused.output


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(ExploreError, match=r'needs jinja2, which is missing: pip install "nonlin\[explore\]"'):
        write_site(tmp_path)
