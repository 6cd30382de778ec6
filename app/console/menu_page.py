"""How the menu's page is drawn: what its templates get beside the draft."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from flask import Response, render_template

from app.api.menu_rules import TYPES
from app.console import menu_draft, menu_words
from app.console.menu_draft import Draft
from app.console.menu_operations import possible
from app.table.dispatch import Table

_TOOLS = {
    **{name: getattr(menu_draft, name) for name in ("FIELDS", "inputs_of", "name_of", "places", "rest_of", "subs_of")},
    **{name: getattr(menu_words, name) for name in ("PLATFORMS", "bar_label", "field_label", "type_label")},
    "TYPES": TYPES,
    "as_json": json.dumps,
}


def shown(
    table: Table, draft: Draft, form: Mapping[str, str], status: int = 200, *, page: str = "menu.html", **said: Any
) -> Response:
    """Answer ``draft`` in the editor, with what is wrong at each input.

    ``form`` holds what else the form remembers: base, note, changed, refused. ``said`` is what the page says beside:
    failed, is_unknown, pushed, same, loaded, has_none, compared, history, opened, focus.
    """
    notes = list(menu_words.notes(draft, table.takes_click))
    at = defaultdict(list)
    for note in notes:
        at[note.at].append(note)
    given = {"draft": draft, "form": form, "notes": notes, "at": at, "can": possible(draft), "here": ".menu", **said}
    text = render_template(f"console/{page}", **_TOOLS, **given)
    # What WeChat has may hold half a character, which no page can carry.
    return Response(text.encode(errors="replace"), status, content_type="text/html; charset=utf-8")
