"""Pages of features: files and links, text that must stay text, and what a browser makes of them."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch
from support import foreign

from expander_theory import InvalidFile, uniform_mask
from expander_theory.cli import main
from sae_bridge.features import require_writable, write_pages
from sae_bridge.interop import export_sparsify
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

HOSTILE = ["<script>alert(1)</script>", "</mark>", "&amp;", "\"'", "{{ 7*7 }}", " the", "x" * 300, "\u202eabc"]
DARK = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
INSIDE = "<img src=x onerror=alert(2)>{% raw %}"


class Reader(HTMLParser):
    """Addresses, tags and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.links, self.tags, self.marks, self.titles, self.text = [], [], [], [], ""
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and not value.startswith("data:")]
        if tag == "mark":
            self.marks.append("")
            self.titles.append(float(dict(attrs)["title"]))

    def handle_data(self, data):
        self.text += data
        if self.marks and self.tags[-1] == "mark":
            self.marks[-1] += data

    def handle_endtag(self, tag):
        self.tags.append(f"/{tag}")


def fields(j, tokens=("a", " cat"), explanation=None, score=None):
    """A feature as ``described`` yields it; sizes fall while the number grows."""
    effect = [{"token": i, "text": text, "effect": 2.5 - j / 100} for i, text in enumerate(tokens)]
    example = {"group": "largest", "window": 3, "peak": -1.5, "ids": [*range(len(tokens))], "tokens": list(tokens)}
    quantile = example | {"group": "quantile 1 of 4", "acts": [0.0] * (len(tokens) - 1) + [0.5], "peak": 0.5}
    return {
        "feature": j, "count": 100 - j % 50, "tokens": 1000, "rate": (100 - j % 50) / 1000, "negative": 0.5,
        "mean": 1.0, "largest": 1.5, "effective_degree": 1.0 + (7 * j) % 11, "promotes": effect,
        "suppresses": effect, "nearest_by_firing": [], "explanation": explanation, "score": score,
        "rows": [{"row": 4, "value": -0.3, "promotes": list(tokens), "suppresses": list(tokens)}],
        "nearest_by_cosine": [{"feature": (j + 1) % 5, "cosine": 0.5}, {"feature": 99_999, "cosine": 0.25}],
        "histogram": {"low": -1.5, "high": 1.0, "counts": [1, 0, 4]},
        "examples": [example | {"acts": [-1.5] + [0.25] * (len(tokens) - 1)}, quantile],
    }  # fmt: skip


def written(folder, features, numbers=None):
    numbers = numbers or [f["feature"] for f in features]
    about = {"title": f"Features of {INSIDE}", "facts": [("text", INSIDE)], "n": 100_000, "features": numbers}
    size = write_pages(folder, about | {"rows_note": "note"}, features)
    assert size == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return folder


def resolves(folder):
    """Every link of every page leads to a file of the folder; how many links there are."""
    links = [(page.parent, link) for page in folder.rglob("*.html") for link in Reader(page).links]
    assert [link for _, link in links if re.match(r"[a-z]+:|/", link)] == []
    assert [link for parent, link in links if not (parent / link).is_file()] == []
    return len(links)


def sae_folder(folder, kind, store):
    """An untrained SAE in the format of each kind, on the activations of ``store``."""
    if kind in ("saelens", "jumprelu"):
        extra = {"threshold": torch.ones(50, dtype=torch.float64)} if kind == "jumprelu" else {}
        how = {"architecture": "topk", "k": 4} if kind == "saelens" else {"architecture": kind}
        return foreign.write(folder, foreign.saelens_configuration(m=32, **how), foreign.saelens_tensors(m=32) | extra)
    sae = TopKSAE(32, 50, 4, seed=1) if kind in ("dense", "sparsify") else None
    sae = sae or ExpanderSAE(uniform_mask(32, 50, 4, seed=1), 4, seed=1, selection="magnitude")
    sae.fit_normalisation(store.rows("train").mean(0), float(store.rows("train").square().sum(1).mean()))
    if kind == "sparsify":
        return export_sparsify(sae, folder, {"layer": 1, "hook": "resid_post"})
    sae.save(folder, {"activations_sha256": store.sha256})
    return folder


@pytest.mark.parametrize("kind", ["expander", "saelens", "jumprelu", "sparsify"])
def test_the_command_on_every_kind_of_folder(tiny_store, tmp_path, capsys, kind):
    store = tiny_store[1]
    sae, out = sae_folder(tmp_path / "sae", kind, store), tmp_path / "pages"
    chosen = range(0, 50, 4)
    other = [] if kind == "expander" else ["--other-place"]
    main(["sae", "features", str(sae), str(store.folder), "--out", str(out), *other, "--features", *map(str, chosen)])
    assert f"{len(chosen)} features, {store.count('train'):,} tokens" in capsys.readouterr().out.replace("\n", " ")
    assert resolves(out) > 50
    data = json.loads((out / "features.json").read_text())
    assert json.loads((out / "features.js").read_text().removeprefix("window.FEATURES = ").rstrip(";\n")) == data
    assert [f["feature"] for f in data["features"]] == list(chosen)
    for row in data["features"]:
        name = f"{row['feature']:02d}"
        own = json.loads((out / "feature" / f"{name}.json").read_text())
        assert (own["rate"], own["effective_degree"]) == (row["rate"], row["effective_degree"])
        page = Reader(out / "feature" / f"{name}.html")
        assert f"{own['count']:,} of {store.count('train'):,} tokens" in page.text
        acts = [(t, a) for e in own["examples"] for t, a in zip(e["tokens"], e["acts"], strict=True) if a]
        assert page.marks == [t for t, _ in acts]
        assert page.titles == [a for _, a in acts]
        assert sum(own["histogram"]["counts"]) == own["count"]
        assert len(own["rows"]) == (4 if kind == "expander" else 12)
        shown = [f"{token['text']} {token['effect']:+.2f}" for token in own["promotes"] + own["suppresses"]]
        shown += [f"{near['feature']} {near['cosine']:.2f}" for near in own["nearest_by_cosine"]]
        assert [text for text in shown if text not in page.text] == []
    assert sum(row["rate"] for row in data["features"]) > 0.2


def test_some_features_again_leave_none_of_the_old(tiny_store, tmp_path, capsys):
    store, out = tiny_store[1], tmp_path / "pages"
    sae = sae_folder(tmp_path / "sae", "dense", store)
    command = ["sae", "features", str(sae), str(store.folder), "--out", str(out)]
    main([*command, "--sample", "9", "--split", "held_out", "--contexts", "4"])
    with pytest.raises(SystemExit):
        main(command)
    assert "--force" in capsys.readouterr().err
    main([*command, "--force", "--features", "3", "7"])
    assert [f["feature"] for f in json.loads((out / "features.json").read_text())["features"]] == [3, 7]
    assert sorted(path.name for path in (out / "feature").glob("*.html")) == ["03.html", "07.html"]


def test_folders_that_are_written(tmp_path):
    (folder := tmp_path / "a").mkdir()
    (folder / "notes.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(InvalidFile, match="holds no pages"):
            require_writable(folder, force=force)
    pages = written(tmp_path / "b", [fields(0)])
    with pytest.raises(InvalidFile, match="--force"):
        require_writable(pages)
    require_writable(pages, force=True)


@pytest.mark.parametrize("gone", [["index.html", "features.js", "features.json"], ["index.html"]], ids=str)
def test_unfinished_pages_are_written_again(tmp_path, gone):
    """Stopped before the index, which comes last."""
    pages = written(tmp_path / "b", [fields(0)])
    whole = {path.name: path.read_bytes() for path in pages.iterdir() if path.is_file()}
    [(pages / name).unlink() for name in gone]
    require_writable(pages)  # refuses foreign ones
    written(pages, [fields(0)])
    assert {path.name: path.read_bytes() for path in pages.iterdir() if path.is_file()} == whole


def test_pages_that_are_written_over_have_no_index_meanwhile(tmp_path):
    """Stopped half-way it must not look finished: half of the pages would be another SAE's."""
    pages = written(tmp_path / "b", [fields(0), fields(1)])
    stopped = (fields(0, tokens=("new",)) if j == 0 else 1 / 0 for j in range(2))
    with pytest.raises(ZeroDivisionError):
        written(pages, stopped, [0, 1])
    assert not (pages / "index.html").exists()


def test_text_stays_text(tmp_path):
    pages = written(tmp_path / "b", [fields(0, HOSTILE, INSIDE, 0.5), fields(1)])
    assert resolves(pages) > 8
    for page in pages.rglob("*.html"):
        reader = Reader(page)
        assert reader.tags.count("script") == (2 if page.name == "index.html" else 1)
        assert "img" not in reader.tags
        assert INSIDE in reader.text
    page = Reader(pages / "feature" / "00000.html")
    assert page.marks == [*(t.replace("\u202e", "\\u202E") for t in HOSTILE), "\\u202Eabc"]
    assert page.tags.count("mark") == page.tags.count("/mark") == len(page.marks)
    assert "49" not in re.sub(r"[\d.]*\d%|0\.49", "", page.text)
    assert json.loads((pages / "feature" / "00000.json").read_text()) == fields(0, HOSTILE, INSIDE, 0.5)
    assert "score 0.50" in page.text
    assert "99999.html" not in (pages / "feature" / "00000.html").read_text()


# ---- in a browser

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium that logs its console."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "window-size=1200,900"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """310 features; the first hostile, the second explained, the others plain."""
    features = [fields(0, HOSTILE, INSIDE, 0.5), fields(1, ("dog",), "the Dog", 0.9), *map(fields, range(2, 310))]
    return written(tmp_path_factory.mktemp("features") / "pages", features)


@pytest.fixture
def index(folder, browser):
    browser.get((folder / "index.html").as_uri())
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def column(page, name=None):
    """Numbers of the rows of the index, or another of its columns as numbers."""
    place = ["feature", "rate", "effective_degree", "effect", "score"].index(name or "feature")
    cells = "return [...document.querySelectorAll('#features tbody tr')].map(r => r.cells[arguments[0]].textContent)"
    return [float(text) if text else None for text in page.execute_script(cells, place)]


def search(page, text):
    page.execute_script(
        "const s = document.getElementById('search'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))", text
    )
    return column(page)


def press(page, key):
    from selenium.webdriver import ActionChains

    ActionChains(page).send_keys(key).perform()
    return page.execute_script("return document.activeElement.id || document.activeElement.textContent")


def test_search_narrows(index):
    assert column(index) == list(range(300))
    index.find_element("id", "more").click()
    assert column(index) == list(range(310))
    assert not index.find_element("id", "more").is_displayed()
    wanted = {"17": [17], "DOG": [1], "<script>alert(1)": [0], "nothing of it": []}
    assert {text: search(index, text) for text in wanted} == wanted
    assert index.find_element("id", "count").text == "0 of 310"


def test_search_finds_a_token_as_the_table_shows_it(index):
    assert "␣cat" in index.find_element("css selector", "#features tbody tr:nth-child(3)").text
    assert len(search(index, "␣cat")) == 300
    assert search(index, "␣dog") == []  # a space is a part of the token


@pytest.mark.parametrize("name", ["feature", "rate", "effective_degree", "effect", "score"])
def test_every_column_sorts_both_ways(index, name):
    for expected in ("descending", "ascending") if name != "feature" else ("descending",):
        index.find_element("css selector", f"[data-sort={name}]").click()
        found = [x for x in column(index, name) if x is not None]
        assert index.find_elements("css selector", f"th[aria-sort={expected}] [data-sort={name}]")
        assert found == sorted(found, reverse=expected == "descending")
        assert column(index, name)[: len(found)] == found  # those without a number are last
        assert len(set(found)) > 1


def test_keys(index):
    from selenium.webdriver import Keys

    assert press(index, "/") == "search"
    assert press(index, "8") == "search"
    assert column(index) == [8]
    press(index, Keys.BACKSPACE)
    assert [press(index, key) for key in (Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP)] == ["0", "1", "0"]
    assert [press(index, key) for key in (Keys.ARROW_UP, Keys.ARROW_DOWN, Keys.ARROW_DOWN)] == ["search", "0", "1"]
    places = []
    for key in (Keys.ENTER, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT, "i"):
        press(index, key)
        places.append(index.current_url.rpartition("/")[2])
    assert places == ["00001.html", "00002.html", "00001.html", "00000.html", "00000.html", "index.html"]
    [press(index, key) for key in ("/", "dog", Keys.ENTER)]
    assert index.current_url.endswith("feature/00001.html")


@pytest.mark.parametrize("page", ["index.html", "feature/00000.html"])
def test_on_a_telephone_and_in_the_dark(index, folder, page):
    look = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    index.get((folder / page).as_uri())
    assert index.execute_script(look) == ["rgb(255, 255, 255)", "rgb(28, 28, 30)"]
    size = {"width": 375, "height": 780, "deviceScaleFactor": 2, "mobile": True}
    index.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    index.execute_cdp_cmd("Emulation.setEmulatedMedia", DARK)
    try:
        assert index.execute_script("return innerWidth") == 375
        assert index.execute_script("return document.documentElement.scrollWidth") <= 375
        background, ink = (sum(map(int, re.findall(r"\d+", x))) for x in index.execute_script(look))
        assert (background < 120, ink > 600) == (True, True)
    finally:
        index.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        index.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
