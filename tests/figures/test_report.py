"""``expander report`` and the verdicts: on made-up ledgers whose answers are known, and in a browser."""

import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex
from support.suite_records import frontier, record, write_suite

from expander_theory.base.errors import InvalidFile
from expander_theory.cli import main
from expander_theory.plotting import Drawing, Table, all_drawings, draw_all, figure_sources
from expander_theory.results import IdentifiabilityRecord
from expander_theory.results.ledger import Ledger
from expander_theory.simulation.schedules.schedule import FixedTrials, Ladder
from expander_theory.simulation.sweep import run_sweep
from expander_theory.simulation.trials import Ensemble, Task
from paper_figures.claims import CLAIMS
from paper_figures.report.report import write_report, written_report

NO_BETTER = "no better than the null"
BY_NAME = {claim.name: claim for claim in CLAIMS}


def verdict(results, name):
    return BY_NAME[name].finding(results)


def suite(folder, groups, **how):
    write_suite(folder / "saes" / "ledger.jsonl", groups, **how)
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A small sweep and a made-up suite."""
    folder = tmp_path_factory.mktemp("report")
    ensembles = [Ensemble("uniform", m, 40, 4) for m in (16, 24)] + [
        Ensemble("dense", m, 40, m, "gaussian") for m in (16, 24)
    ]
    with Ledger(folder / "phase" / "ledger.jsonl", {"kind": "phase transition", "n": 40}) as ledger:
        run_sweep([Ladder(Task(e, 1), (1, 4, 8, 14)) for e in ensembles], FixedTrials(25), ledger)
    controls = [
        ("d = 8", record("d8", 0, 0.85, d=8)),
        ("clustered (paper)", record("clustered-d8", 0, 0.7, d=8, family="clustered")),
        ("dense, n = 16", record("dense-n16", 0, 0.6, n=16)),
    ]
    return suite(folder, {"frontier": frontier(), "controls": controls})


def test_every_claim_names_figures_that_exist_and_a_command(capsys):
    for claim in CLAIMS:
        assert set(claim.figures) <= set(figure_sources())
        assert claim.rule
        with pytest.raises(SystemExit, match="0"):
            main([*claim.experiment.split()[1:], "--help"])
        assert "usage" in capsys.readouterr().out


def test_what_was_not_run_says_what_makes_it(tmp_path):
    for claim in CLAIMS:
        found = claim.finding(tmp_path)
        assert found.verdict == "not run"
        assert claim.experiment in found.numbers[0]


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.8, 0.9, "supported"), (0.85, 0.855, "partly"), (0.9, 0.8, "not supported")]
)
def test_the_frontier_rises(tmp_path, low, high, expected):
    found = verdict(suite(tmp_path, {"frontier": frontier(low, high)}), "frontier")
    assert found.verdict == expected
    assert f"{low:.3f} [" in found.numbers[0]
    assert "2 seeds" in found.scale


@pytest.mark.parametrize(
    ("null", "expected"),
    [(0.5, "supported"), (0.8, "partly"), (0.85, "partly"), (0.95, NO_BETTER), (None, "not supported")],
)
def test_a_frontier_that_has_learned_nothing_is_none(tmp_path, null, expected):
    found = verdict(suite(tmp_path, {"frontier": frontier(0.8, 0.9)}, null=null), "frontier")
    assert found.verdict == expected
    said = "; ".join(found.numbers)
    assert ("was not measured" in said) == (null is None)
    if null == 0.85:
        assert "clearly below that of the coordinate null: 64" in said


@pytest.mark.parametrize(("null", "expected"), [(0.5, "supported"), (0.805, NO_BETTER), (None, "not supported")])
def test_a_headline_that_a_null_has_too_is_none(tmp_path, null, expected):
    found = verdict(suite(tmp_path, {"frontier": frontier(0.81)}, null=null), "84 % at 293x")
    assert found.verdict == expected
    assert ("not measured" in found.numbers[1]) == (null is None)


_NULL_FIGURES = {
    "storage_frontier": "frontier",
    "small_dense": "small-dense",
    "sparsity": "sparsity",
    "controls": "controls",
    "better_training": "better-training",
    "certified_mask": "certified-mask",
    "pursuit_recipe": "pursuit-recipe",
}
"""Figures, and the experiment that each shows."""


@pytest.mark.parametrize("name", _NULL_FIGURES)
def test_figures_draw_the_null_as_a_dashed_line(tmp_path, name):
    dense = [
        ("dense", record("dense", 0, 0.95)),
        ("d = 8", record("d8", 0, 0.8, d=8)),
        ("dense, n = 16", record("dense-n16", 0, 0.6, n=16)),
    ]
    groups = dict.fromkeys(_NULL_FIGURES.values(), dense)
    for null in (0.625, None):
        folder = tmp_path / str(null)
        _, drawing = figure_sources()[name].found(suite(folder, groups, null=null))
        lines = [line for axis in drawing.figures[name].axes for line in axis.lines if len(line.get_ydata())]
        dashed = [line for line in lines if line.get_linestyle() == "--"]
        assert bool(dashed) == (null is not None)
        rows = [row for row in drawing.data[name] if row["architecture"] == "null"]
        assert len(rows) == (null is not None)
        if null:
            assert any(0.625 in np.asarray((line.get_ydata(), line.get_xdata())) for line in dashed)
            assert rows[0]["recovered_zero"] == 0.625
            assert "coordinate null" in drawing.data_files()[f"tables/{name}.md"].decode()


def test_notes_show_code_as_code_and_nothing_else(results, tmp_path):
    rows = [{"<b>": "a & b", "value": 0.123456, "count": 12345678, "none": None}] * 61
    drawing = Drawing(tables={"t": Table("A <title>", rows, "see `a <b>` & c, and a lone ` here")})
    write_report(results, tmp_path, {"a figure of no claim": ([results / "phase" / "ledger.jsonl"], drawing)})
    page = (tmp_path / "index.html").read_text()
    assert "see <code>a &lt;b&gt;</code> &amp; c, and a lone ` here" in page
    assert "<summary>A &lt;title&gt;</summary>" in page
    assert "<th>&lt;b&gt;</th>" in page
    assert page.count("<td>a &amp; b</td><td>0.1235</td><td>12345678</td><td></td>") == 60
    assert "1 more rows in its CSV" in page
    assert "&lt;code&gt;" not in page


class Live(HTMLParser):
    """The interactive figures: names, ids, and of each cell or point the tip and how it is drawn."""

    def __init__(self, page):
        super().__init__()
        self.names, self.ids, self.tips, self.tags = [], [], {}, set()
        self.inside, self.tip = False, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "svg":
            self.inside = True
            self.names.append(found["aria-label"])
        if not self.inside:
            return
        self.tags.add(tag)
        self.ids += [value for name, value in attributes if name == "id"]
        if "data-tip" in found:
            assert (found["class"], found["tabindex"]) == ("tip", "0")
            self.tip = found["data-tip"]
            self.tips[self.tip] = ""
        elif "fill: #" in found.get("style", "") and self.tip:
            self.tips[self.tip] = found["style"].partition("fill: ")[2][:7]
            self.tip = None

    def handle_endtag(self, tag):
        self.inside &= tag != "svg"


def test_every_cell_and_point_bears_its_own_tip(results, tmp_path):
    write_report(results, tmp_path)
    live = Live((tmp_path / "index.html").read_text())
    assert live.names[:2] == [
        "uniform, d = 4: sparsity k/m against undersampling m/n",
        "dense Gaussian: sparsity k/m against undersampling m/n",
    ]
    assert set(live.names[2:]) == {"SmolLM2-135M: CE loss recovered against learned decoder values"}
    cells = {tip: colour for tip, colour in live.tips.items() if " recovered, rate " in tip}
    shades = colormaps["cividis"]
    assert {shades(0.0), shades(1.0)} < {shades(float(tip.split("rate ")[1].split()[0])) for tip in cells}
    for tip, colour in cells.items():
        assert colour == to_hex(shades(float(tip.split("rate ")[1].split()[0])))
    assert live.tags <= {"svg", "g", "path", "defs", "use", "text", "clippath", "rect"}  # no date, no style
    drawn = len(live.names) - 2  # the frontier, which stands with each claim that it shows
    assert {live.ids.count(name) for name in live.ids} <= {1, drawn}


def test_labels_are_text_in_an_interactive_figure(tmp_path):
    label = "<i>$d_8$ & co</i>"
    write_report(suite(tmp_path, {"frontier": [(label, record("d8", 0, 0.8, d=8))]}), tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert ">&lt;i&gt;$d_8$ &amp; co&lt;/i&gt;</text>" in page
    assert "<i>" not in page
    assert any(tip.startswith(f"{label}: 8,192 decoder values") for tip in Live(page).tips)


def test_one_damaged_certificate_does_not_end_a_report(results, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    (folder / "a.json").write_text('{"format": "expander-certificate", "dictionary": 5}')
    (folder / "b.json").write_text("[1, 2")
    (folder / "c.json").mkdir()
    write_report(folder, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "unreadable: damaged: dictionary: expected object, got int" in page


@pytest.mark.parametrize(("low", "expected"), [(0.81, "supported"), (0.7, "not supported")])
def test_the_headline_is_judged_at_the_nearest_ratio(tmp_path, low, expected):
    found = verdict(suite(tmp_path, {"frontier": frontier(low)}), "84 % at 293x")
    assert found.verdict == expected
    assert "256 times fewer values (d = 2)" in found.numbers[0]
    assert f"{low / 0.95:.3g}" in found.numbers[0]


@pytest.mark.parametrize(
    ("clustered", "small", "expected"),
    [(0.7, 0.6, "supported"), (0.7, 0.9, "partly"), (0.85, 0.9, "not supported")],
)
def test_controls_must_be_clearly_worse(tmp_path, clustered, small, expected):
    members = [
        ("d = 8", record("d8", 0, 0.85, d=8)),
        ("overlap-limited", record("overlap-limited-d8", 0, 0.9, d=8, family="overlap-limited")),
        ("clustered (paper)", record("clustered-d8", 0, clustered, d=8, family="clustered")),
        ("dense, n = 16", record("dense-n16", 0, small, n=16)),
        ("dense", record("dense", 0, 0.99)),
    ]
    found = verdict(suite(tmp_path, {"controls": members}), "controls")
    assert found.verdict == expected
    assert "of 2 controls" in found.numbers[-1]


@pytest.mark.parametrize(
    ("designed", "expected"),
    [((0.85, 0.85), "supported"), ((0.86, 0.6), "partly"), ((0.7, 0.7), "not supported")],
)
def test_a_certified_mask_is_free_if_it_is_surely_not_much_worse(tmp_path, designed, expected):
    """Two seeds that differ leave an interval too wide to say."""
    members = []
    for seed, value in enumerate(designed):
        members.append(("d = 8", record("d8", seed, 0.85, d=8)))
        members.append(("d = 8, overlap <= 1", record("euler-d8", seed, value, d=8, family="euler-square")))
    assert verdict(suite(tmp_path, {"certified-mask": members}), "certified masks").verdict == expected


@pytest.mark.parametrize(("null", "expected"), [(0.5, "supported"), (0.9, NO_BETTER), (None, "not supported")])
def test_what_a_null_has_too_is_no_finding(tmp_path, null, expected):
    """Records of controls, masks and recipes, which would be supported, beside nulls that score less or more."""
    controls = [("d = 8", record("d8", 0, 0.85, d=8))]
    controls.append(("clustered (paper)", record("clustered-d8", 0, 0.7, d=8, family="clustered")))
    masks = [("d = 8", record("d8", 0, 0.85, d=8))]
    masks.append(("d = 8, overlap <= 1", record("euler-d8", 0, 0.85, d=8, family="euler-square")))
    recipes = [("d = 8", record("d8", 0, 0.85, d=8)), ("long", record("d8-long", 0, 0.86, d=8))]
    recipes.append(("dense", record("dense", 0, 0.86)))
    groups = {"controls": controls, "certified-mask": masks, "better-training": recipes}
    folder = suite(tmp_path, groups, null=null)
    for name in ("controls", "certified masks", "better training"):
        assert verdict(folder, name).verdict == expected, name


def test_the_null_of_each_model_is_in_the_comparison_of_models(tmp_path):
    folder = suite(tmp_path, {"frontier": frontier(0.8, 0.9)}, null=0.76)
    _, drawing = figure_sources()["cross_model"].found(folder)
    (null,) = [row for row in drawing.data["cross_model"] if row["source"] == "coordinate null"]
    assert null["ratio"] == pytest.approx(0.76 / 0.95)
    dotted = [line for line in drawing.figures["cross_model"].axes[0].lines if line.get_linestyle() == ":"]
    assert any(null["ratio"] in np.asarray(line.get_ydata()) for line in dotted)


@pytest.mark.parametrize(("small", "expected"), [(0.9, "supported"), (0.5, "not supported")])
def test_small_dense_saes_are_compared_at_equal_storage(tmp_path, small, expected):
    members = [("d = 8", record("d8", 0, 0.7, d=8))]
    members += [(f"dense, n = {n}", record(f"dense-n{n}", 0, small, n=n)) for n in (8, 64)]
    assert verdict(suite(tmp_path, {"small-dense": members}), "small dense SAEs").verdict == expected


@pytest.mark.parametrize(("best", "expected"), [(0.95, "supported"), (0.85, "partly"), (0.8, "not supported")])
def test_better_training_closes_the_gap_or_not(tmp_path, best, expected):
    members = [
        ("d = 8", record("d8", 0, 0.8, d=8)),
        ("four times the steps", record("d8-long", 0, best, d=8)),
        ("dense", record("dense", 0, 0.95)),
    ]
    assert verdict(suite(tmp_path, {"better-training": members}), "better training").verdict == expected


def test_identifiability_is_refuted_by_one_counterexample(tmp_path):
    row = {"m": 8, "flatness": 1.0, "draw": 0, "eps": 0.4, "bound": 0.2, "margin": 0.3, "spark": 9, "unique": True}
    for name, wrong, expected in (
        ("a", {}, "supported"),
        ("b", {"unique": False}, "not supported"),
        ("c", {"margin": 0.1}, "not supported"),
    ):
        with Ledger(
            tmp_path / name / "identifiability" / "ledger.jsonl", {"kind": "identifiability", "n": 7, "d": 4, "k": 2}
        ) as ledger:
            ledger.append(IdentifiabilityRecord(**row))
            ledger.append(IdentifiabilityRecord(**{**row, "draw": 1, **wrong}))
        assert verdict(tmp_path / name, "identifiability").verdict == expected


class Links(HTMLParser):
    """Everything that a page would load."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [(tag, value) for name, value in attributes if name in ("src", "href")]


def test_the_page_loads_nothing_from_anywhere(results, tmp_path):
    said = write_report(results, tmp_path)
    page = (tmp_path / "index.html").read_text()
    links = Links()
    links.feed(page)
    assert links.found
    assert all(value.startswith(("data:", "#")) for _, value in links.found)
    assert not re.search(r"@import|url\(", page)
    assert "frontier: supported" in said
    assert "cost: not run" in said
    for text in ("d traces a storage-fidelity frontier.", "phase/ledger.jsonl", "commit ", "SmolLM2-135M"):
        assert text in page
    markdown = (tmp_path / "claims.md").read_text()
    assert markdown.count("\n|") == len(CLAIMS) + 1


def test_the_same_results_give_the_same_page(results, tmp_path):
    pages = []
    for name in ("a", "b"):
        write_report(results, tmp_path / name)
        pages.append((tmp_path / name / "index.html").read_bytes())
    assert pages[0] == pages[1]


def test_a_report_is_current_while_its_claims_are(results, tmp_path):
    assert written_report(results, tmp_path) is None
    said = write_report(results, tmp_path)
    assert written_report(results, tmp_path) == said
    claims = tmp_path / "claims.md"
    claims.write_text(claims.read_text().replace("supported", "refuted", 1))
    assert written_report(results, tmp_path) is None


def test_nothing_to_report(tmp_path, capsys):
    with pytest.raises(InvalidFile, match="no such results folder"):
        write_report(tmp_path / "absent", tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["report", "--results", str(tmp_path)])
    assert "holds no results to report" in capsys.readouterr().err


def test_drawings_that_were_drawn_for_files_give_the_same_page(results, tmp_path):
    drawn = all_drawings(results)
    draw_all(results, tmp_path / "figures", drawn=drawn)
    write_report(results, tmp_path / "shared", drawn)
    write_report(results, tmp_path / "own")
    assert (tmp_path / "shared" / "index.html").read_bytes() == (tmp_path / "own" / "index.html").read_bytes()


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
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1200,900",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(results, browser):
    write_report(results, results / "report")
    browser.get((results / "report" / "index.html").as_uri())
    return browser


def test_it_opens_without_errors(page):
    assert "Expander dictionaries" in page.title
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    images = page.find_elements("css selector", "figure img")
    assert images
    for image in images:
        assert page.execute_script("return arguments[0].complete && arguments[0].naturalWidth > 50", image)


def test_hovering_shows_counts_and_intervals(page):
    from selenium.webdriver import ActionChains

    tip = page.find_element("id", "tip")
    assert not tip.is_displayed()
    cells = page.find_elements("css selector", "svg.live[aria-label*=undersampling] .tip")
    assert len(cells) == 16
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", cells[0])
    ActionChains(page).move_to_element(cells[0]).perform()
    assert tip.is_displayed()
    assert re.match(
        r"m = 16, n = 40, k = 1 \(k/m = 0\.0\d\d\): \d+ of 25 recovered, rate [\d.]+ \[[\d.]+, [\d.]+\]", tip.text
    )
    point = page.find_element("css selector", "svg.live[aria-label*=decoder] .tip")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(page).move_to_element(point).perform()
    assert "CE recovered 0.9500 [" in tip.text
    ActionChains(page).move_to_element(page.find_element("css selector", "h1")).perform()
    assert not tip.is_displayed()


def test_the_keyboard_reaches_cells_and_points(page):
    tip = page.find_element("id", "tip")
    for element in page.find_elements("css selector", "svg.live .tip"):
        page.execute_script("arguments[0].focus({preventScroll: true})", element)
        assert tip.is_displayed()
        assert page.execute_script("return arguments[0].textContent", tip) == element.get_attribute("data-tip")
        page.execute_script("arguments[0].blur()", element)
        assert not tip.is_displayed()


def test_readable_at_phone_width(page):
    size = {"width": 360, "height": 780, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert page.execute_script("return innerWidth") == 360
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
        text = page.find_element("css selector", "section ul li")
        assert float(page.execute_script("return parseFloat(getComputedStyle(arguments[0]).fontSize)", text)) >= 14
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
