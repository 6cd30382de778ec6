"""The console's QR codes as pictures: each on its page, as a file, and on paper."""

import ast
import re
import time
import xml.etree.ElementTree as ET
from html import unescape

import pytest

from tests.console.conftest import Open, Operator
from tests.console.kept_codes import DAY, MONTH, TICKET, add, printed

OTHER = "wx0000000000000000"


@pytest.fixture
def operator(console: Open) -> Operator:
    return console()


def test_the_pictures_are_real_and_named_after_the_scene(operator: Operator) -> None:
    [code] = add(operator, "poster-7")
    png = operator.client.get(f"/console/codes/{code}.png")
    assert (png.data[:8], png.content_type) == (b"\x89PNG\r\n\x1a\n", "image/png")
    assert png.headers["Content-Disposition"] == "attachment; filename=qr-poster-7.png"
    svg = operator.client.get(f"/console/codes/{code}.svg")
    assert svg.content_type.startswith("image/svg+xml")
    assert ET.fromstring(svg.data).tag == "{http://www.w3.org/2000/svg}svg"
    assert f'src="/console/codes/{code}.svg"' in operator.get(f"/codes/{code}")


@pytest.mark.parametrize(
    ("scene", "name"),
    [
        ("a/b\"c'd\\e", "filename=qr-a-b-c-d-e.png"),
        ("../../etc/passwd", "filename=qr-..-..-etc-passwd.png"),
        ("门店 7", "filename=qr--7.png; filename*=UTF-8''qr-%E9%97%A8%E5%BA%97-7.png"),
        ("; filename=x.exe", "filename=qr--filename-x.exe.png"),
    ],
)
def test_no_scene_makes_a_harmful_file_name(operator: Operator, scene: str, name: str) -> None:
    [code] = add(operator, scene)
    response = operator.client.get(f"/console/codes/{code}.png")
    assert response.headers["Content-Disposition"] == f"attachment; {name}"


def test_codes_of_others_and_codes_that_are_not_made_are_not_there(operator: Operator) -> None:
    hidden = add(operator, "theirs", appid=OTHER) + add(operator, "asked for", ticket=None, url=None)
    for code in (*hidden, 0, 2**31, 10**30):
        for path in (f"/codes/{code}", f"/codes/{code}.png", f"/codes/{code}.svg"):
            operator.get(path, 404)
        assert printed(operator.get(f"/codes/sheet?id={code}")) == []
    assert "There is no QR code yet." in operator.text("/codes")
    assert printed(operator.get("/codes/sheet?all=1")) == []


def test_a_code_shows_no_ticket_and_its_rows_for_the_handlers(operator: Operator) -> None:
    scene = "a\"b'c\\d</pre>门"
    [code] = add(operator, scene)
    page = operator.get(f"/codes/{code}")
    assert TICKET not in page
    rows = unescape(re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)[0]).splitlines()
    keys = [ast.literal_eval(row.removesuffix(": handler,")) for row in rows]
    assert keys == [("event", "scan", scene), ("event", "subscribe", scene)]


def test_a_scene_becomes_no_markup(operator: Operator) -> None:
    scene = '"><script>alert(1)</script>'
    [code] = add(operator, scene)
    for path in (
        "/codes",
        f"/codes?q={scene}",
        f"/codes/{code}",
        f"/codes/sheet?id={code}",
        f"/codes/sheet?all=1&q={scene}",
    ):
        page = operator.get(path)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    wrong = operator.post("/codes/new", 422, scene=scene, kind="int", unit="permanent").text
    assert "<script>alert" not in wrong


def test_a_sheet_holds_what_was_chosen_or_all_that_was_found(operator: Operator) -> None:
    ids = add(operator, "shop-1", "shop-2", "poster-7")
    add(operator, "shop-3", expire_seconds=MONTH, ends_at=int(time.time()) - DAY)
    chosen = operator.get(f"/codes/sheet?q=&id={ids[0]}&id={ids[2]}&id=x&id=-1")
    assert printed(chosen) == ["poster-7", "shop-1"]
    assert "loading=" not in chosen  # a picture that comes late would be a blank on paper
    found = operator.get("/codes/sheet?q=shop&all=1")
    assert printed(found) == ["shop-2", "shop-1"]
    assert "Ended, and therefore left out: 1." in found
    assert "choose in the list first" in operator.text("/codes/sheet?q=shop")


def test_a_sheet_comes_in_three_sizes(operator: Operator) -> None:
    [code] = add(operator, "shop-1")
    page = operator.get(f"/codes/sheet?id={code}")
    assert 'class="sheet size-M"' in page
    sizes = re.findall(rf'href="/console/codes/sheet\?size=([SML])&amp;id={code}"', page)
    assert sizes == ["S", "M", "L"]
    for size in sizes:
        assert f'class="sheet size-{size}"' in operator.get(f"/codes/sheet?size={size}&id={code}")
    assert 'class="sheet size-M"' in operator.get(f"/codes/sheet?id={code}&size=%22")
    assert 'href="/console/codes/sheet?size=L&amp;all=1&amp;q=shop"' in operator.get("/codes/sheet?all=1&q=shop")


def test_a_sheet_holds_a_thousand_and_says_what_is_left_out(operator: Operator) -> None:
    add(operator, *(f"shop-{number}" for number in range(1003)))
    page = operator.get("/codes/sheet?all=1")
    assert (len(printed(page)), printed(page)[-1]) == (1000, "shop-3")
    assert "A sheet holds 1000 at most; 3 older ones are not on it." in page
    assert "Print the latest 1000" in operator.get("/codes")
