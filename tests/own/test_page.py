"""The page for a reader's own images, driven in a browser: threshold, filters, keys, file names."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import CHROMIUM, framed
from PIL import Image

from aeflow_utils.own.page import COLUMNS, Facts, write_page

needs_browser = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")

FACTS = Facts(
    title="Screws",
    settings="a detector, 64 px",
    threshold=2.01,
    rule="80 % quantile of 25 normal validation images",
    normal_scores=[n / 10 for n in range(1, 26)],
    counts=[{"split": "test", "normal": 222, "abnormal": 78, "unlabelled": 0}],
    methods=[{"detector": "kNN", "AUROC": 0.9}, {"detector": "none", "AUROC": float("nan")}],
    figures={},
    notes=["Few images."],
)
HOSTILE = "<img src=x onerror=\"document.title='gone'\"> & 'q' 100% #1? süß.png"
# A browser that only dumps a page draws no frames. Cards are counted from the start.
HEAD = """<head><script>
requestAnimationFrame = f => setTimeout(f, 5);
let made = 0;
new MutationObserver(changes => {
  for (const { target, addedNodes } of changes) made += target.id === "cards" && addedNodes.length;
}).observe(document, { childList: true, subtree: true });
</script>"""
DRIVER = """<script>
const seen = {}, one = s => document.querySelector(s), all = s => [...document.querySelectorAll(s)];
const pause = () => new Promise(done => setTimeout(done, 50));
const number = id => parseFloat(one("#" + id).textContent);
const rows = () => all(".card").map(card => +card.dataset.row);
const at = () => +document.activeElement.closest(".card").dataset.row;
const counts = () => Object.fromEntries(all("fieldset label").map(
  chip => [chip.querySelector("input").value, +chip.querySelector("b").textContent]));
const choose = async value => { one(`input[value="${value}"]`).click(); await pause(); };
const press = async key => {
  const how = { key, bubbles: true, cancelable: true };
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", how));
  await pause();
};
const point = (kind, score) => {
  const slider = one("#slider"), box = slider.getBoundingClientRect();
  const [low, high] = ["min", "max"].map(end => +slider.getAttribute("aria-value" + end));
  const clientX = box.left + box.width * (score - low) / (high - low);
  slider.dispatchEvent(new PointerEvent(kind, { clientX, bubbles: true, cancelable: true }));
};
const drag = async (from, to, moves = 5) => {
  point("pointerdown", from);
  for (let i = 1; i <= moves; i++) {
    point("pointermove", from + (to - from) * i / moves);
    await pause();
  }
  point("pointerup", to);
  await pause();
};
const readings = () => Object.fromEntries(["flagged", "changed", "tp", "fp", "fn", "tn",
  "sensitivity", "specificity", "precision", "f1", "alarms"].map(id => [id, number(id)]));
(async () => { await pause(); STEPS })().catch(error => { seen.error = String(error.stack); })
  .finally(() => parent.postMessage(JSON.stringify(seen), "*"));
</script></body>"""


def images(n=300):
    """Scores n/100, ..., 0.02, 0.01. Of the first 80 all but four are abnormal, then two are."""
    rows = np.arange(n)
    label = (rows < 80) & ~np.isin(rows, [10, 20, 30, 40]) | np.isin(rows, [100, 200])
    table = pd.DataFrame(
        {"path": [f"test/{row:04}.png" for row in rows], "label": label.astype(int)}
    )
    table["kind"] = np.where(label, "dent", "normal")
    table["image_score"] = (n - rows) / 100
    table["p_value"] = [np.mean(np.array(FACTS.normal_scores) >= s) for s in table["image_score"]]
    for name in ("thumb", "overlay", "map"):
        table[name] = [f"thumbs/{row}-{name}.png" for row in rows]
    return table


def seen(tmp_path, table, steps, facts=FACTS, width=1200, dark=False):
    """What `steps`, JavaScript run beside the page, put into `seen`.

    In a frame, because a window is never as narrow as a phone.
    """
    page = write_page(tmp_path, table, facts)
    text = page.read_text(errors="surrogateescape").replace("<head>", HEAD, 1)
    driven = tmp_path / "driven.html"
    driven.write_text(
        text.replace("</body>", DRIVER.replace("STEPS", steps)), errors="surrogateescape"
    )
    budget = "--virtual-time-budget=30000"
    result = json.loads(framed(tmp_path, "driven.html", "e.data", width, dark, budget))
    assert "error" not in result, result["error"]
    return result


@needs_browser
def test_the_threshold_is_dragged_and_everything_follows(tmp_path):
    result = seen(
        tmp_path,
        images(),
        """
        seen.fitted = readings();
        await drag(2.2, 2.505);
        seen.dragged = readings();
        seen.value = +one("#slider").getAttribute("aria-valuenow");
        seen.unmarked = all(".card.changed").length;
        await choose("changed sides");
        seen.changed = rows();
        seen.marked = all(".card.changed").length;
        seen.misses = all(".card .verdict").filter(v => v.textContent === "miss").length;
        one("#reset").click();
        await pause();
        seen.reset = readings();
        """,
    )
    fitted = {"flagged": 100, "changed": 0, "tp": 76, "fp": 24, "fn": 2, "tn": 198}
    fitted |= {"sensitivity": 97.4, "specificity": 89.2, "precision": 76, "f1": 85.4, "alarms": 20}
    dragged = {"flagged": 50, "changed": 50, "tp": 46, "fp": 4, "fn": 32, "tn": 218}
    dragged |= {"sensitivity": 59, "specificity": 98.2, "precision": 92, "f1": 71.9, "alarms": 0}
    assert result["fitted"] == result["reset"] == fitted
    assert result["dragged"] == dragged
    assert result["value"] == pytest.approx(2.505, abs=0.004)
    assert result["unmarked"] == 0
    n = len(result["changed"])
    assert result["changed"] == list(range(50, 50 + n))
    assert n == result["marked"] >= 12
    assert result["misses"] == min(n, 30)  # images 50 to 79 are abnormal


@needs_browser
def test_the_threshold_moves_by_keys_and_a_finger_that_scrolls_leaves_it(tmp_path):
    result = seen(
        tmp_path,
        images(),
        """
        const slider = one("#slider"), value = () => +slider.getAttribute("aria-valuenow");
        slider.focus();
        seen.role = document.activeElement.getAttribute("role");
        const steps = [];
        for (const key of ["ArrowRight", "ArrowLeft", "PageUp", "PageDown", "Home", "End"]) {
          await press(key);
          steps.push([value(), number("flagged")]);
        }
        seen.steps = steps;
        seen.f1 = one("#f1").textContent;
        seen.precision = one("#precision").textContent;
        const touch = { pointerType: "touch", clientX: 200, bubbles: true };
        slider.dispatchEvent(new PointerEvent("pointerdown", touch));
        slider.dispatchEvent(new PointerEvent("pointercancel", touch));
        await pause();
        seen.scrolled = number("flagged");
        """,
    )
    assert result["role"] == "slider"
    values, flagged = np.transpose(result["steps"])
    step = (values[5] - values[4]) / 200
    assert values[:4] == pytest.approx(2.01 + step * np.array([1, 0, 20, 0]))
    assert flagged.tolist()[4:] == [300, 0]
    assert 60 < flagged[2] < 75
    assert result["precision"] == "–"  # nothing is flagged
    assert result["f1"] == "0.0 %"
    assert result["scrolled"] == 0


@needs_browser
def test_filters_tell_their_numbers_and_narrow_each_other(tmp_path):
    result = seen(
        tmp_path,
        images(),
        """
        seen.counts = counts();
        await choose("misses");
        seen.misses = rows();
        await choose("flagged");
        await choose("normal");
        seen.both = counts();
        seen.first = rows().slice(0, 5);
        const search = one("#search");
        const find = async text => {
          search.value = text;
          search.dispatchEvent(new Event("input", { bubbles: true }));
          await pause();
          return [one("#shown").textContent, one("#none").hidden];
        };
        seen.found = await find(" TEST/003 ");
        seen.narrowed = counts();
        seen.nothing = await find("no such name");
        """,
    )
    sides = {"all": 300, "flagged": 100, "not flagged": 200, "errors": 26, "false alarms": 24}
    sides |= {"misses": 2, "changed sides": 0, "any": 300, "normal": 222, "abnormal": 78}
    assert result["counts"] == sides
    assert result["misses"] == [100, 200]
    assert result["first"] == [10, 20, 30, 40, 80]
    assert result["both"]["any"] == 100  # of the flagged
    assert result["both"]["all"] == 222  # of the normal
    assert result["both"]["errors"] == result["both"]["flagged"] == 24
    assert result["found"] == ["1 of 300", True]  # 30 to 39, of which 30 is normal
    assert result["narrowed"]["abnormal"] == 9
    assert result["nothing"] == ["0 of 300", False]


@needs_browser
def test_keys_go_through_cards_open_them_and_turn_pictures(tmp_path):
    table = images().assign(pixel_auroc=0.875)
    result = seen(
        tmp_path,
        table,
        """
        const source = () => one(".card img").getAttribute("src"), large = one("#large");
        await press("j"); await press("j"); await press("j"); await press("k");
        seen.second = at();
        const columns = getComputedStyle(one("#cards")).gridTemplateColumns.split(" ").length;
        await press("ArrowDown");
        seen.below = at() - columns;
        await press("ArrowUp"); await press("ArrowRight"); await press("ArrowLeft");
        seen.back = at();
        document.activeElement.click();
        seen.opened = [large.open, one("#large-name").textContent];
        seen.pictures = all("#large img").map(image => image.getAttribute("src"));
        seen.told = one("#large-facts").textContent.includes("87.5 %");
        await press("j"); await press("ArrowRight");
        seen.onward = one("#large-name").textContent;
        one("#close").click();
        large.dispatchEvent(new Event("close"));  // which a browser sends with its next frame
        await pause();
        seen.closed = [large.open, at()];
        seen.views = [source()];
        for (const key of "mmm") { await press(key); seen.views.push(source()); }
        await press("f"); await press("f");
        seen.filtered = [one("fieldset :checked").value, rows()[0]];
        one("#search").focus();
        await press("f");
        seen.typed = one("fieldset :checked").value;
        one("#search").blur();
        await press("?");
        seen.keys = one("#keys").open;
        """,
    )
    assert (result["second"], result["below"], result["back"]) == (1, 1, 1)
    assert result["opened"] == [True, "test/0001.png"]
    assert result["pictures"] == [f"thumbs/1-{name}.png" for name in ("thumb", "map", "overlay")]
    assert result["told"]
    assert result["onward"] == "test/0003.png"
    assert result["closed"] == [False, 3]
    order = ("thumb", "map", "overlay", "thumb")
    assert result["views"] == [f"thumbs/0-{name}.png" for name in order]
    assert result["filtered"] == ["not flagged", 100]
    assert result["typed"] == "not flagged"
    assert result["keys"]


@needs_browser
def test_any_file_name_is_text_and_its_thumbnail_is_found(tmp_path):
    table = images(30)
    table.loc[0, ["path", "thumb"]] = [f"a/{HOSTILE}", f"thumbs/{HOSTILE}"]
    table.loc[0, "kind"] = "</script><script>document.title='gone'</script>"
    table.loc[1, "path"] = "not UTF-8 \udce4.png"
    (tmp_path / "thumbs").mkdir()
    Image.new("L", (9, 7)).save(tmp_path / "thumbs" / HOSTILE)
    (tmp_path / HOSTILE).write_bytes((tmp_path / "thumbs" / HOSTILE).read_bytes())
    result = seen(
        tmp_path,
        table,
        """
        const card = one(".card"), figure = one(".figures img");
        one(".card button").click();
        figure.scrollIntoView();
        await pause(); await pause();
        seen.title = document.title;
        const name = card.querySelector(".name");
        seen.names = [name.textContent, card.title, one("#large-name").textContent];
        seen.kind = card.querySelector(".label").textContent;
        seen.widths = [card.querySelector("img").naturalWidth, one("#large img").naturalWidth];
        seen.figure = [figure.alt, decodeURIComponent(figure.getAttribute("src"))];
        seen.note = one(".notes").textContent.trim();
        seen.cards = all(".card").length;
        """,
        replace(FACTS, title=HOSTILE, notes=[HOSTILE], figures={HOSTILE: HOSTILE}),
    )
    assert result["title"].startswith(HOSTILE)
    assert result["names"] == [HOSTILE, f"a/{HOSTILE}", f"a/{HOSTILE}"]
    assert result["kind"] == f"abnormal · {table['kind'][0]}"
    assert result["widths"] == [9, 9]
    assert result["figure"] == [HOSTILE, HOSTILE]
    assert result["note"] == HOSTILE
    assert result["cards"] > 5


@needs_browser
def test_of_many_images_few_cards_exist_at_a_time(tmp_path):
    result = seen(
        tmp_path,
        images(5000),
        """
        seen.begun = [made, all(".card").length];
        await drag(1, 40, 50);
        seen.flagged = number("flagged");
        seen.dragged = [made, all(".card").length];
        seen.most = 0;
        const height = document.documentElement.scrollHeight;
        for (const part of [0.2, 0.5, 1]) {
          scrollTo(0, height * part);
          dispatchEvent(new Event("scroll"));
          await pause();
          seen.most = Math.max(seen.most, all(".card").length);
        }
        seen.last = rows().at(-1);
        """,
    )
    assert result["flagged"] == pytest.approx(1001, abs=40)
    made, there = result["begun"]
    assert 5 < there <= made <= 100
    assert result["dragged"] == result["begun"]  # a drag dresses the cards that are there
    assert result["most"] <= 100
    assert result["last"] == 4999


@needs_browser
def test_without_labels_and_maps_nothing_is_judged_or_switched(tmp_path):
    table = images().assign(label=-1, kind="unlabelled", map="", overlay="", p_value=np.nan)
    result = seen(
        tmp_path,
        table,
        """
        const visible = s => one(s).checkVisibility();
        seen.visible = [visible("#judged"), visible(".views button"), visible("#labels")];
        seen.told = [number("flagged"), number("alarms")];
        seen.choices = Object.keys(counts());
        await press("m");
        seen.source = one(".card img").getAttribute("src");
        one(".card button").click();
        seen.figures = all("#large figure").filter(f => f.checkVisibility()).length;
        """,
    )
    assert result["visible"] == [False, False, False]
    assert result["told"] == [100, 20]
    assert not {"errors", "misses", "false alarms"} & set(result["choices"])
    assert result["source"] == "thumbs/0-thumb.png"
    assert result["figures"] == 1


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(400, True), (800, False), (1400, True)])
def test_nothing_is_wider_than_the_screen(tmp_path, width, dark):
    table = images()
    table.loc[0, "path"] = "w" * 300
    wide = [{f"column number {n}": "value" for n in range(30)}]
    facts = replace(FACTS, title="W" * 100, methods=wide, notes=["w" * 300], rule="w" * 100)
    result = seen(
        tmp_path,
        table,
        """
        const widths = () => document.documentElement.scrollWidth;
        seen.page = widths();
        await press("j");
        document.activeElement.click();
        await pause();
        seen.large = [widths(), one("#large").scrollWidth - one("#large").clientWidth];
        seen.dark = matchMedia("(prefers-color-scheme: dark)").matches;
        """,
        facts,
        width,
        dark,
    )
    assert result == {"page": width, "large": [width, 0], "dark": dark}


def test_without_a_script_a_table_of_the_first_hundred_shows(tmp_path):
    text = write_page(tmp_path, images(), FACTS).read_text()
    table = re.search(r"<noscript>(.*?)</noscript>", text, re.DOTALL)[1]
    assert re.findall(r"test/(\d+)\.png", table) == [f"{row:04}" for row in range(100)]
    assert "<b>100 of 300 images" in text


def test_the_page_loads_nothing_but_pictures_beside_it(tmp_path):
    facts = replace(FACTS, figures={"A curve": "figures/a b.png"})
    text = write_page(tmp_path, images(), facts).read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert not re.search(
        r"https?:|@import|url\(|<iframe|<link(?! rel=\"icon\" href=\"data:,\")", text
    )
    sources = re.findall(r'\ssrc="([^"]*)"', text)
    assert len(sources) == 101
    assert all(re.match(r"(thumbs|figures)/", source) for source in sources)
    assert "figures/a%20b.png" in sources


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path, column):
    with pytest.raises(ValueError, match=column):
        write_page(tmp_path, images().drop(columns=column), FACTS)


def changed(column, row, value):
    table = images()
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "facts"),
    [
        (images()[::-1], FACTS),
        (images()[:0], FACTS),
        (changed("image_score", 299, np.nan), FACTS),
        (changed("label", 3, 2), FACTS),
        (changed("thumb", 3, "//example.org/a.png"), FACTS),
        (images(), replace(FACTS, threshold=float("inf"))),
        (images(), replace(FACTS, normal_scores=[float("nan")])),
        (images(), replace(FACTS, figures={"A curve": "/a.png"})),
    ],
    ids=["order", "empty", "nan", "label", "far", "threshold", "normal", "figure"],
)
def test_what_cannot_be_shown_is_refused_and_an_older_page_stays(tmp_path, table, facts):
    (tmp_path / "index.html").write_text("older")
    with pytest.raises(ValueError):
        write_page(tmp_path, table, facts)
    assert (tmp_path / "index.html").read_text() == "older"


@pytest.mark.parametrize("scores", [[0.5] * 300, [1e9, *[1.0] * 299], np.linspace(1e-9, 0, 300)])
def test_scores_of_any_kind_have_an_axis(tmp_path, scores):
    facts = replace(FACTS, threshold=float(scores[5]), normal_scores=[])
    text = write_page(tmp_path, images().assign(image_score=scores), facts).read_text()
    low, high = (float(re.search(rf'aria-value{end}="([^"]*)"', text)[1]) for end in ("min", "max"))
    assert low < scores[5] < high
    assert "nan" not in re.search(r'<div id="plot".*?<div class="decisions', text, re.DOTALL)[0]
