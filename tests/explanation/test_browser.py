"""The pages in a browser: by keyboard and by mouse, from a link, without an error and without a request to elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nonlin.explanation.site import LABS

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium at /usr/bin/chromium to open the pages in")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page on which no error may occur."""
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else problems.append(request.url))
    yield page
    context.close()
    assert problems == []


def test_search(small_site: Path, page: Any) -> None:
    page.goto((small_site / "index.html").as_uri())
    page.fill("#search", "smooth relu")
    assert page.locator("#found").inner_text().endswith("found")
    page.fill("#search", "GELU")
    assert page.locator(".cards li:visible strong").all_inner_texts() == ["gelu"]
    page.press("#search", "Enter")
    page.wait_for_url("**/entries/gelu.html")


def test_the_explorer_by_keyboard(small_site: Path, page: Any) -> None:
    page.goto((small_site / "explorer.html").as_uri())
    page.focus("#x")
    before = page.locator("#values").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#values").inner_text() != before
    page.focus("#views [data-order='2']")
    page.keyboard.press("Enter")
    assert "orders=012" in page.url
    page.focus("#choose")
    page.fill("#choose", "LeakyReLU")
    page.keyboard.press("Enter")
    assert "f=leaky_relu" in page.url
    page.focus("#sliders input")
    page.keyboard.press("ArrowRight")
    assert "negative_slope" in page.url


def test_the_explorer_by_mouse(small_site: Path, page: Any) -> None:
    page.goto((small_site / "explorer.html").as_uri())
    page.locator("#plot").scroll_into_view_if_needed()
    box = page.locator("#plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 50)
    page.mouse.up()
    assert 1.5 < float(page.locator("#x").input_value()) < 3.5
    page.fill("#choose", "relu")
    page.click("#add")
    assert page.locator("#chips li").count() == 2
    page.click("#chips [data-close='gelu']")
    assert page.locator("#chips li").all_inner_texts()[0].split() == ["relu"]


def test_a_link_restores_the_state(small_site: Path, page: Any) -> None:
    address = (small_site / "explorer.html").as_uri() + "#f=elu,alpha:1.5;relu&orders=01&x=-1&reach=3&format=bfloat16"
    page.goto(address)
    assert page.locator("#values tr").nth(0).locator("td").nth(1).inner_text() == "−0.949219"
    assert page.locator("#format").input_value() == "bfloat16"
    assert page.locator("#sliders input").input_value() == "1.5"
    assert page.url.partition("#")[2] == "f=elu%2Calpha%3A1.5%3Brelu&orders=01&x=-1&reach=3&format=bfloat16"


def test_a_typed_formula(small_site: Path, page: Any) -> None:
    page.goto((small_site / "explorer.html").as_uri())
    page.fill("#formula", "x*tanh(log(1+exp(x)))")
    assert page.locator("#problem").inner_text() == "This is mish."
    assert page.locator("#plot path.line").count() >= 4
    page.fill("#formula", "x*tanh(")
    assert page.locator("#problem").inner_text() == "column 8: something is missing at the end"
    page.fill("#formula", "sin(a*x)")
    assert page.locator("#sliders label").first.inner_text().startswith("yours: a")


def test_every_page_fits_a_phone(small_site: Path, page: Any) -> None:
    for path in sorted(small_site.rglob("*.html")):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        controls = "[...document.querySelectorAll('input,select,button')]"
        unnamed = f"{controls}.filter(e => !e.labels?.length && !e.innerText && !e.ariaLabel).map(e => e.id)"
        assert page.evaluate(unnamed) == [], path


def test_the_labs(small_site: Path, page: Any) -> None:
    """Each lab answers when something is moved by keyboard, and its link restores what was moved."""
    moved = {
        "layers": ("#depth", "#said"),
        "dying": ("#width", "#born"),
        "choice": ("#x", "#rows"),
        "spikes": ("#current", "#said"),
        "why": ("#depth", "output[for=depth]"),
        "softmax": ("#temperature", "#rows"),
    }
    for lab, (control, answer) in moved.items():
        page.goto((small_site / "labs" / f"{lab}.html").as_uri())
        before = page.locator(answer).inner_text()
        page.focus(control)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        after = page.locator(answer).inner_text()
        assert after != before, lab
        address = page.url
        page.goto("about:blank")
        page.goto(address)
        if lab != "choice":  # it measures times
            assert page.locator(answer).inner_text() == after, lab
        assert page.locator("#problem").inner_text() == "", lab


def test_networks_are_trained_in_the_page(small_site: Path, page: Any) -> None:
    page.goto((small_site / "labs" / "dying.html").as_uri())
    page.click("#one")
    assert page.locator("#said").inner_text().startswith("Step 1:")
    page.fill("#formula", "max(x, 0.1*x)")
    page.select_option("#first", "yours")
    assert page.locator("#said").inner_text().startswith("Step 0:")
    page.click("#one")
    page.goto((small_site / "labs" / "why.html").as_uri())
    page.click("#train")
    page.wait_for_function("document.getElementById('left-said').textContent.includes('after 5')", timeout=20000)
    page.click("#train")
    assert page.locator("#train").inner_text() == "Train"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, small_site: Path, page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page.emulate_media(color_scheme=scheme)
    for name in ("index", "explorer", "entries/gelu", *(f"labs/{lab}" for lab, _, _ in LABS)):
        page.goto((small_site / f"{name}.html").as_uri())
        found = [
            v
            for v in axe.run(page, options={"preload": False}).response["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        assert [(v["id"], v["nodes"][0]["html"]) for v in found] == [], name
