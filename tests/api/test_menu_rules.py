import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.menu_form import normalised
from app.api.menu_rules import Checked, check, find_problems, find_warnings

CLICK = {"name": "今日歌曲", "type": "click", "key": "V1"}
VIEW = {"name": "搜索", "type": "view", "url": "https://example.com/"}
SUBS = {"name": "菜单", "sub_button": [VIEW, CLICK]}
LEAF_FIELDS = ("key", "url", "appid", "pagepath", "media_id", "article_id")
TAKES = {
    "click": {"key": "V1"},
    "scancode_push": {"key": "V1"},
    "scancode_waitmsg": {"key": "V1"},
    "pic_sysphoto": {"key": "V1"},
    "pic_photo_or_album": {"key": "V1"},
    "pic_weixin": {"key": "V1"},
    "location_select": {"key": "V1"},
    "view": {"url": "http://example.com/"},
    "miniprogram": {"url": "http://example.com/", "appid": "wx286b93c14bbf93aa", "pagepath": "pages/lunar/index"},
    "media_id": {"media_id": "M1"},
    "view_limited": {"media_id": "M1"},
    "article_id": {"article_id": "A1"},
    "article_view_limited": {"article_id": "A1"},
}
EVERY_TYPE = (
    "click, view, miniprogram, scancode_push, scancode_waitmsg, location_select, pic_sysphoto, pic_photo_or_album, "
    "pic_weixin, media_id, view_limited, article_id, article_view_limited, or buttons in sub_button"
)
KEY = "; a click button takes one of 1 to 128 bytes"
URL = "; a view button takes one of 1 to 1024 bytes, http:// or https://"
REFUSED = "; WeChat answers 65320, it takes tag_id and client_platform_type only"
HALF = "\ud83d"

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=20,
)
WORDS = "button menu menuid conditionalmenu matchrule tag_id group_id client_platform_type name type sub_button list"
words = st.sampled_from([*WORDS.split(), *LEAF_FIELDS, HALF])
values: st.SearchStrategy[Any] = st.sampled_from([*TAKES, "", HALF, "今日歌曲", 2, None, [], {}]) | any_json
nearly_a_menu = st.recursive(
    values,
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(words, inner, max_size=6),
    max_leaves=40,
)


def menu(*buttons: Any, **others: Any) -> dict[str, Any]:
    return {"button": list(buttons), **others}


def conditional(**rule: Any) -> dict[str, Any]:
    return menu(CLICK, matchrule=rule)


def problems_of(button: Any) -> list[str]:
    return check(menu(button)).problems


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in fields.items() if other != name}


@pytest.mark.parametrize("button_type", TAKES)
def test_each_type_is_taken_with_its_fields_on_the_bar_and_below_it(button_type: str) -> None:
    button = {"name": "x", "type": button_type, **TAKES[button_type]}
    assert check(menu(button, {"name": "y", "sub_button": [button]})) == Checked([], [])


@pytest.mark.parametrize(("button_type", "field"), [(kind, field) for kind, taken in TAKES.items() for field in taken])
def test_each_type_misses_each_of_its_fields(button_type: str, field: str) -> None:
    button = {"name": "x", "type": button_type, **TAKES[button_type]}
    for broken, wrong in (
        (without(button, field), "is missing"),
        (button | {field: ""}, "is empty"),
        (button | {field: 5}, "is a number"),
        (button | {field: HALF}, "holds one half of a surrogate pair, which UTF-8 cannot carry"),
    ):
        (line,) = problems_of(broken)
        assert line.startswith(f'button 1 "x": {field} {wrong}; a')
        assert f" {button_type} button takes one" in line


@pytest.mark.parametrize("button_type", TAKES)
def test_a_field_of_another_type_is_out_of_place(button_type: str) -> None:
    for field in set(LEAF_FIELDS) - set(TAKES[button_type]):
        (line,) = problems_of({"name": "x", "type": button_type, **TAKES[button_type], field: "https://x"})
        assert line.startswith(f'button 1 "x": {field} is out of place; a')
        assert line.endswith(f" {button_type} button takes {', '.join(('name', 'type', *TAKES[button_type]))}")


@pytest.mark.parametrize(
    ("button", "expected"),
    [
        (CLICK | {"name": "一二三四五x"}, []),  # 16 bytes
        (CLICK | {"name": "一二三四五xy"}, ["name has 17 bytes; a button takes one of 1 to 16 bytes"]),
        (CLICK | {"key": "一" * 42 + "xy"}, []),  # 128 bytes
        (CLICK | {"key": "一" * 43}, ["key has 129 bytes" + KEY]),
        (VIEW | {"url": "https://" + "x" * 1016}, []),
        (VIEW | {"url": "https://" + "x" * 1017}, ["url has 1025 bytes" + URL]),
        (VIEW | {"url": "http://例.cn/" + "x" * 1010}, []),
        (VIEW | {"url": "http://例.cn/" + "x" * 1012}, ["url has 1026 bytes" + URL]),
        (VIEW | {"url": "ftp://example.com"}, ['url is "ftp://example.com"' + URL]),
        (VIEW | {"url": "example.com"}, ['url is "example.com"' + URL]),
        (VIEW | {"url": "https:/example.com"}, ['url is "https:/example.com"' + URL]),
        (VIEW | {"url": "http:/example.com"}, ['url is "http:/example.com"' + URL]),
    ],
)
def test_the_limits_are_bytes(button: dict[str, str], expected: list[str]) -> None:
    assert problems_of(button) == [f'button 1 "{button["name"]}": {wrong}' for wrong in expected]


def test_a_sub_buttons_name_may_be_longer() -> None:
    assert problems_of({"name": "x", "sub_button": [CLICK | {"name": "一" * 20}]}) == []
    (line,) = problems_of({"name": "x", "sub_button": [CLICK, CLICK | {"name": "一" * 20 + "x"}]})
    assert line.startswith('button 1 "x" > 2 "一一')
    assert line.endswith('": name has 61 bytes; a sub-button takes one of 1 to 60 bytes')


def test_a_line_names_the_button() -> None:
    sub_buttons = [VIEW, VIEW, {"name": "赞一下", "type": "click"}]
    assert check(menu(VIEW, {"name": "今日歌曲", "sub_button": sub_buttons})).problems == [
        'button 2 "今日歌曲" > 3 "赞一下": key is missing' + KEY
    ]


@pytest.mark.parametrize(
    ("button", "expected"),
    [
        (without(CLICK, "name"), [": name is missing; a button takes one of 1 to 16 bytes"]),
        (CLICK | {"name": ""}, [": name is empty; a button takes one of 1 to 16 bytes"]),
        (CLICK | {"name": 5}, [": name is a number; a button takes one of 1 to 16 bytes"]),
        (CLICK | {"name": None}, [": name is null; a button takes one of 1 to 16 bytes"]),
        ({"name": "x"}, [' "x": type is missing; expected one of ' + EVERY_TYPE]),
        ({"name": "x", "type": ["click"]}, [' "x": type is a list; expected one of ' + EVERY_TYPE]),
        (
            {"name": "x", "type": "CLICK", "key": "V1"},
            [' "x": WeChat knows no type "CLICK" (did you mean click?); expected one of ' + EVERY_TYPE],
        ),
        (
            {"name": "x", "tpye": "click", "key": "V1"},
            [
                ' "x": type is missing; expected one of ' + EVERY_TYPE,
                ' "x": WeChat knows no field "tpye" (did you mean type?); a button takes '
                "name, type, sub_button, key, url, appid, pagepath, media_id, article_id",
            ],
        ),
        ({"name": "x", "type": "q"}, [' "x": WeChat knows no type "q"; expected one of ' + EVERY_TYPE]),
        (
            {"name": "x", "type": "click", "kye": "V1"},
            [
                f' "x": key is missing{KEY}',
                ' "x": WeChat knows no field "kye" (did you mean key?); a click button takes name, type, key',
            ],
        ),
        (
            {"name": "x", "type": "view", "url": "http://x", "zzz": 1},
            [' "x": WeChat knows no field "zzz"; a view button takes name, type, url'],
        ),
        (None, [": it is null; expected an object with name and type"]),
        ("click", [": it is a text; expected an object with name and type"]),
    ],
)
def test_a_button_has_a_name_a_known_type_and_known_fields(button: Any, expected: list[str]) -> None:
    assert problems_of(button) == [f"button 1{line}" for line in expected]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"sub_button": [CLICK] * 5}, []),
        ({"sub_button": [CLICK] * 6}, ["sub_button holds 6; expected a list of 1 to 5 buttons"]),
        ({"sub_button": {"list": [CLICK]}}, ["sub_button is an object; expected a list of 1 to 5 buttons"]),
        ({"sub_button": None}, ["sub_button is null; expected a list of 1 to 5 buttons"]),
        ({"sub_button": []}, ["type is missing; expected one of " + EVERY_TYPE]),
        ({"sub_button": [], "type": "click", "key": "V1"}, []),
        (
            {"sub_button": [CLICK], "type": "click", "key": "V1"},
            [
                "type is out of place; a button with sub_button takes name, sub_button",
                "key is out of place; a button with sub_button takes name, sub_button",
            ],
        ),
    ],
)
def test_a_button_has_sub_buttons_or_a_type(fields: dict[str, Any], expected: list[str]) -> None:
    assert problems_of({"name": "x", **fields}) == [f'button 1 "x": {wrong}' for wrong in expected]


def test_nothing_is_nested_deeper_than_a_sub_button() -> None:
    assert problems_of({"name": "x", "sub_button": [CLICK | {"sub_button": []}]}) == []
    assert problems_of({"name": "x", "sub_button": [SUBS]}) == [
        'button 1 "x" > 1 "菜单": sub_button is out of place; nothing is nested deeper than a sub-button'
    ]


@pytest.mark.parametrize(
    ("given_menu", "expected"),
    [
        (menu(CLICK, VIEW, SUBS), []),
        (menu(CLICK, menuid=208396938), []),
        ({"menu": menu(CLICK, menuid=208396938)}, []),
        (menu(CLICK, conditionalmenu=[]), []),
        (menu(CLICK, CLICK, CLICK, CLICK), ["button holds 4; expected a list of 1 to 3 buttons"]),
        (menu(), ["button holds 0; expected a list of 1 to 3 buttons"]),
        ({}, ["button is missing; expected a list of 1 to 3 buttons"]),
        ({"button": CLICK}, ["button is an object; expected a list of 1 to 3 buttons"]),
        ([CLICK], ["it is a list; expected an object with button"]),
        (None, ["it is null; expected an object with button"]),
        ({"menu": None}, ["it is null; expected an object with button"]),
        (menu(CLICK, conditionalmenu={}), ["conditionalmenu is an object; expected a list of menus with a matchrule"]),
        (menu(CLICK, conditionalmenu=None), ["conditionalmenu is null; expected a list of menus with a matchrule"]),
        (
            menu(CLICK, conditionalmenus=[]),
            [
                'WeChat knows no field "conditionalmenus" (did you mean conditionalmenu?); '
                "it takes button, conditionalmenu, menuid"
            ],
        ),
        (
            menu(CLICK, matchrule={"tag_id": 2}),
            ["matchrule is out of place; it takes button, conditionalmenu, menuid"],
        ),
        ({"menu": menu(CLICK), "button": []}, ["button is out of place; it takes menu, conditionalmenu"]),
        ({"menu": menu(CLICK, conditionalmenu=[])}, ["conditionalmenu is out of place; it takes button, menuid"]),
        (
            {"conditionalmenu": [conditional(tag_id=2)]},
            ["button is missing; expected a list of 1 to 3 buttons", "conditional menus need a default menu"],
        ),
    ],
)
def test_a_menu_is_a_bar_of_buttons(given_menu: Any, expected: list[str]) -> None:
    assert check(given_menu).problems == [f"the menu: {wrong}" for wrong in expected]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"tag_id": "2"}, []),
        ({"tag_id": 2, "client_platform_type": ""}, []),
        ({"client_platform_type": 1}, []),
        ({"client_platform_type": "3"}, []),
        ({}, ["matchrule names nobody; expected tag_id or client_platform_type"]),
        ({"tag_id": ""}, ["matchrule names nobody; expected tag_id or client_platform_type"]),
        ({"tag_id": "vip"}, ['matchrule\'s tag_id is "vip"; expected the number of a tag']),
        ({"tag_id": True}, ["matchrule's tag_id is a boolean; expected the number of a tag"]),
        ({"tag_id": None}, ["matchrule's tag_id is null; expected the number of a tag"]),
        (
            {"client_platform_type": 12},
            ['matchrule\'s client_platform_type is "12"; expected 1 (iOS), 2 (Android) or 3 (others)'],
        ),
        (
            {"client_platform_type": "4"},
            ['matchrule\'s client_platform_type is "4"; expected 1 (iOS), 2 (Android) or 3 (others)'],
        ),
        ({"tag_id": 2, "group_id": 2}, [f'matchrule has "group_id" (tag_id is its name now){REFUSED}']),
        *(
            ({"tag_id": 2, name: "x"}, [f'matchrule has "{name}"{REFUSED}'])
            for name in ("sex", "country", "province", "city", "language", "zzz")
        ),
    ],
)
def test_a_conditional_menu_asks_for_a_tag_or_a_platform(rule: dict[str, Any], expected: list[str]) -> None:
    found = check(menu(CLICK, conditionalmenu=[conditional(tag_id=2) | {"menuid": 5}, conditional(**rule)]))
    assert found.problems == [f"conditional menu 2: {wrong}" for wrong in expected]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (None, [": it is null; expected an object with button"]),
        (menu(CLICK), [": matchrule is missing; expected an object with tag_id or client_platform_type"]),
        (
            menu(CLICK, matchrule=[2]),
            [": matchrule is a list; expected an object with tag_id or client_platform_type"],
        ),
        (
            menu(CLICK, matchrule={"tag_id": 2}, matchrules={}),
            [': WeChat knows no field "matchrules" (did you mean matchrule?); it takes button, matchrule, menuid'],
        ),
        (menu(matchrule={"tag_id": 2}), [": button holds 0; expected a list of 1 to 3 buttons"]),
        (
            menu(VIEW, {"name": "x", "sub_button": [without(CLICK, "key")]}, matchrule={"tag_id": 2}),
            [', button 2 "x" > 1 "今日歌曲": key is missing' + KEY],
        ),
    ],
)
def test_a_conditional_menu_keeps_the_rules_of_a_menu(one: Any, expected: list[str]) -> None:
    assert check(menu(CLICK, conditionalmenu=[one])).problems == [f"conditional menu 1{line}" for line in expected]


def test_every_problem_is_found_at_once() -> None:
    found = check(menu({"name": "x"}, without(CLICK, "key"), conditionalmenu=[conditional()]))
    assert [line.partition(":")[0] for line in found.problems] == [
        'button 1 "x"',
        'button 2 "今日歌曲"',
        "conditional menu 1",
    ]


def test_a_click_that_no_handler_takes_is_a_warning() -> None:
    lost = CLICK | {"name": "x", "key": "V2"}
    found = check(
        menu(CLICK, lost, {"name": "y", "sub_button": [lost]}, conditionalmenu=[menu(lost, matchrule={"tag_id": 2})]),
        lambda key: key == "V1",
    )
    says = ': no handler has a row for the click on key "V2"; it would be ("event", "click", "V2"): ...'
    places = ['button 2 "x"', 'button 3 "y" > 1 "x"', 'conditional menu 1, button 1 "x"']
    assert found == Checked([], [place + says for place in places])


def test_only_clicks_that_wechat_takes_are_asked_for() -> None:
    asked = []

    def takes_click(key: str) -> bool:
        asked.append(key)
        return False

    others = [{"name": "x", "type": kind, **taken} for kind, taken in TAKES.items() if kind != "click"]
    broken = [without(CLICK, "key"), CLICK | {"key": 5}, CLICK | {"key": HALF}, CLICK | {"sub_button": [VIEW]}, None]
    for button in (*others, *broken):
        assert check(menu(button), takes_click).warnings == []
    assert asked == []


def test_without_handlers_there_are_no_warnings() -> None:
    assert check(menu(CLICK)) == Checked([], [])


def test_a_line_can_be_printed_whatever_the_name_is() -> None:
    (line,) = problems_of({"name": f'a"\n{HALF}\u2028今', "type": "click", "key": "V1"})
    assert line.startswith('button 1 "a\\"\\n\\ud83d\\u2028今": name holds one half of a surrogate pair')
    assert len(problems_of({"name": "x" * 10_000, "type": "click", "key": "V1"})[0]) < 300


@given(any_json | nearly_a_menu)
def test_no_json_raises(anything: Any) -> None:
    before = copy.deepcopy(anything)
    problems, warnings = check(anything, lambda key: False)
    assert all(line.isprintable() for line in problems + warnings)
    form = normalised(anything)
    assert json.dumps(normalised(form)) == json.dumps(form)
    assert repr(anything) == repr(before)


def test_what_menu_get_adds_is_dropped() -> None:
    from_wechat = {
        "menu": menu(
            CLICK | {"sub_button": []},
            {"name": "菜单", "sub_button": {"list": [VIEW | {"sub_button": []}, CLICK | {"sub_button": {"list": []}}]}},
            menuid=208396938,
        ),
        "conditionalmenu": [
            menu(
                CLICK | {"sub_button": []},
                matchrule={"group_id": 2, "sex": "", "client_platform_type": 1},
                menuid=208396993,
            )
        ],
    }
    assert normalised(from_wechat) == {
        "button": [CLICK, SUBS],
        "conditionalmenu": [menu(CLICK, matchrule={"tag_id": "2", "client_platform_type": "1"})],
    }


def test_the_two_ways_to_write_a_menu_are_equal() -> None:
    rules = [conditional(tag_id=2), conditional(tag_id="2", client_platform_type="") | {"menuid": 5}]
    one = menu(CLICK, SUBS, conditionalmenu=rules[:1], menuid=7)
    other = {"menu": menu(CLICK, SUBS), "conditionalmenu": rules[1:]}
    assert normalised(one) == normalised(other) == normalised(normalised(one))
    assert normalised(menu(CLICK, conditionalmenu=[])) == {"button": [CLICK]}


@pytest.mark.parametrize(
    "other",
    [
        menu(SUBS, CLICK),
        menu(CLICK | {"type": "location_select"}, SUBS),
        menu(CLICK, SUBS | {"sub_button": [CLICK, VIEW]}),
        menu(CLICK, SUBS, conditionalmenu=[conditional(tag_id=2)]),
    ],
)
def test_menus_that_differ_stay_different(other: dict[str, Any]) -> None:
    assert normalised(other) != normalised(menu(CLICK, SUBS))


def test_what_is_unknown_stays_as_it_is() -> None:
    odd = menu(
        {"name": "x", "type": "news", "value": [1], "sub_button": None},
        {"name": "y", "sub_button": {"list": [5], "style": 1}},
        {"name": "z", "sub_button": [{"name": "deep", "sub_button": [CLICK | {"sub_button": []}]}, 5]},
        7,
        conditionalmenu=[5, menu(CLICK, matchrule={"tag_id": "2", "group_id": "3", "sex": None, "new": [1]}, style=1)],
    )
    assert normalised(odd) == odd
    assert normalised({"button": {"list": [CLICK]}}) == {"button": {"list": [CLICK]}}
    assert normalised({"menu": None}) == normalised({}) == normalised(None) == {"button": []}


def test_conditional_menus_link_to_three_hosts_in_all() -> None:
    def menu(*hosts: str) -> dict[str, Any]:
        button = [[{"type": "view", "name": "a", "url": f"https://{host}/x"}] for host in hosts]
        conditional = [{"button": one, "matchrule": {"tag_id": "1"}} for one in button]
        return {"button": [{"type": "click", "name": "a", "key": "A"}], "conditionalmenu": conditional}

    assert check(menu("a.cn", "b.cn", "c.cn", "A.cn")).problems == []
    assert "link to 4 hosts" in check(menu("a.cn", "b.cn", "c.cn", "d.cn")).problems[0]


def test_a_problem_knows_its_place_its_field_and_its_kind() -> None:
    wrong = menu(
        VIEW | {"url": "x"},
        {"name": "一二三四五六", "sub_button": [CLICK, without(CLICK, "key"), CLICK | {"sub_button": [CLICK]}]},
        {"name": "y", "type": "q", "zzz": 1},
        conditionalmenu=[menu(matchrule={"tag_id": "vip"}), conditional(sex="1"), conditional()],
    )
    found = [(place, wrong.field, wrong.kind, wrong.most) for place, _, wrong in find_problems(wrong)]
    assert found == [
        ((0, 1), "url", "url", 0),
        ((0, 2), "name", "long", 16),
        ((0, 2, 2), "key", "empty", 0),
        ((0, 2, 3), "sub_button", "nested", 0),
        ((0, 3), "type", "type", 0),
        ((0, 3), "zzz", "unknown", 0),
        ((1,), "button", "count", 3),
        ((1,), "tag_id", "number", 0),
        ((2,), "sex", "refused", 0),
        ((2,), "tag_id", "nobody", 0),
        ((3,), "tag_id", "nobody", 0),
    ]
    assert [problem.line for problem in find_problems(wrong)] == check(wrong).problems


def test_a_warning_knows_its_place() -> None:
    both = menu(VIEW, SUBS, conditionalmenu=[conditional(tag_id="2")])
    found = [(place, wrong.field, wrong.kind) for place, _, wrong in find_warnings(both, lambda key: False)]
    assert found == [((0, 2, 2), "key", "click"), ((1, 1), "key", "click")]


def test_what_the_conditional_menus_have_together_has_no_place_of_its_own() -> None:
    links = [menu(VIEW | {"url": f"https://{host}/"}, matchrule={"tag_id": "2"}) for host in ("a", "b", "c", "d")]
    (problem,) = find_problems(menu(CLICK, conditionalmenu=links))
    assert (problem.place, problem.wrong.kind, problem.wrong.most) == ((), "hosts", 3)
