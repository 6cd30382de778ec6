"""The settings, the key, the handler table, and the menu's clicks."""

import json
import re
import secrets
from urllib.parse import urlsplit

from app import place
from app.api.menu_rules import check as check_menu_rules
from app.callback.seal import Seal
from app.config import Settings
from app.doctor.finding import Finding, Findings, ok, warning, wrong
from app.errors import BadCiphertext, ConfigError, StoreError
from app.store.menus import current_revision
from app.table.dispatch import Table

# A token can be guessed at leisure by whoever sees one signed request: 16 letters and digits are beyond that.
_GOOD_TOKEN_CHARACTERS = 16
_ADDRESS = re.compile(r"[0-9.]+|.*:.*")
_DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]*[a-z]")


def explain(error: ConfigError) -> Findings:
    """Yield what keeps the service from starting."""
    todo = f"correct it in {place.settings_file()} or in the environment; the rest is looked at after that"
    for problem in error.problems or (str(error),):
        yield wrong("settings", problem, todo)


def check_settings(settings: Settings) -> Findings:
    """Yield what is set that works, and may not be meant."""
    yield ok("settings", "all of them are valid")
    yield _token(settings)
    if settings.token_previous:
        todo = "remove WECHAT_TOKEN_PREVIOUS once the account's page has the new token"
        yield warning("previous token", "messages signed with WECHAT_TOKEN_PREVIOUS are taken too", todo)
    yield _encryption(settings)
    yield from _keys(settings)
    yield _appsecret(settings)
    if settings.public_url and not settings.sandbox:
        yield from _public_address(settings.public_url)
    if settings.sandbox:
        todo = "where real fans are answered: set WECHAT_APPID and WECHAT_APPSECRET, and no WECHAT_SANDBOX"
        yield warning("sandbox", f"WeChat is played locally for {settings.appid}; nothing reaches a fan", todo)


def check_table(settings: Settings, table: Table) -> Findings:
    """Yield which messages and clicks nobody answers. Asks the database for the menu that was pushed last."""
    yield ok("handlers", f"{len(table.rows)} rows in {settings.handlers}")
    if not table.takes_anything():
        found = 'no row "*": a message that no other row takes is answered with silence'
        yield warning("handlers", found, 'add a row "*" to HANDLERS, if silence is not what is meant')
    try:
        menu = current_revision(settings.account)
    except StoreError:  # the line about the database says it
        return
    if menu is None or menu.content == "{}":
        yield ok("menu", "none was pushed from here")
        return
    unanswered = check_menu_rules(json.loads(menu.content), table.takes_click).warnings
    for line in unanswered:
        yield warning("menu", line, 'add a row ("event", "click", KEY) to HANDLERS, or take the button away')
    if not unanswered:
        yield ok("menu", f"every click of revision {menu.number} has a row")


def _public_address(url: str) -> Findings:
    parts = urlsplit(url)
    host, port, rest = parts.hostname or "", parts.port, url.partition("://")[2].partition(parts.netloc)[2]
    if parts.scheme == "http":
        found = "WECHAT_PUBLIC_URL is http: whoever is between sees the fans' logins"
        yield warning("public address", found, "serve fans' pages over https (nginx/tls.conf)")
    # What the account's page says beside 网页授权域名 and JS接口安全域名.
    wrongs = {
        f"the port {port}": port not in (None, {"http": 80, "https": 443}[parts.scheme]),
        f"the address {host}": bool(_ADDRESS.fullmatch(host)),
        f"the name {host}": not _ADDRESS.fullmatch(host) and not _DOMAIN.fullmatch(host),
        f"{rest}": bool(rest),
        "a user's name": "@" in parts.netloc,
    }
    for what in [what for what, is_wrong in wrongs.items() if is_wrong]:
        found = f"WECHAT_PUBLIC_URL has {what}: WeChat sends fans and the JS-SDK to a domain alone, on port 80 or 443"
        yield warning("public address", found, "https://DOMAIN, as the account's page has it (网页授权域名)")


def _token(settings: Settings) -> Finding:
    length = len(settings.token)
    if length < _GOOD_TOKEN_CHARACTERS:
        found = f"WECHAT_TOKEN has {length} characters: who sees one signed request can find it by trying"
        return warning("token", found, "take 32 letters and digits by chance, here and on the account's page")
    return ok("token", f"WECHAT_TOKEN has {length} letters and digits")


def _encryption(settings: Settings) -> Finding:
    found = {
        "safe": "safe mode: messages are sealed",
        "compatible": "compatible mode: messages come sealed and in plain text, which is what counts",
        "normal": "normal mode: whoever is between sees the messages, and a signature does not cover them",
    }[settings.encrypt_mode]
    if settings.encrypt_mode == "safe" or settings.sandbox:
        return ok("encryption", found)
    return warning(
        "encryption", found, "choose 安全模式 on the account's page and set WECHAT_ENCRYPT_MODE=safe with it"
    )


def _keys(settings: Settings) -> Findings:
    names = ("WECHAT_ENCODING_AES_KEY", "WECHAT_ENCODING_AES_KEY_PREVIOUS")
    values = (settings.encoding_aes_key, settings.encoding_aes_key_previous)
    for name, key in zip(names, values, strict=True):
        if key and not _opens_its_own(key, settings.appid):
            yield wrong(
                name, "what it seals cannot be opened with it", "copy the EncodingAESKey from the account's page"
            )
        elif key:
            yield ok(name, "what it seals, it opens")
    if settings.encoding_aes_key_previous:
        todo = "remove WECHAT_ENCODING_AES_KEY_PREVIOUS once the account's page has the new key"
        yield warning("previous key", "messages sealed with the previous key are taken too", todo)
    elif settings.encoding_aes_key and settings.encrypt_mode == "normal" and not settings.sandbox:
        todo = "set WECHAT_ENCRYPT_MODE as the account's page has it, or remove the key"
        yield warning("encryption", "a key is set, and normal mode does not use it", todo)


def _opens_its_own(key: str, appid: str) -> bool:
    sample, seal = secrets.token_bytes(100), Seal(key, appid)
    try:
        return seal.unseal(seal.seal(sample)) == sample
    except BadCiphertext:
        return False


def _appsecret(settings: Settings) -> Finding:
    if settings.has_api:
        key = "WECHAT_SECRET_KEY" if settings.secret_key else "a key that is made of the AppSecret"
        return ok("appsecret", f"set; fans' logins are signed with {key}")
    given = {"WECHAT_APPID": settings.appid, "WECHAT_APPSECRET": settings.appsecret}
    missing = " and ".join(name for name, value in given.items() if not value)
    found = f"{missing} missing: no menus, QR codes or login, and late answers wait to be fetched"
    return warning("appsecret", found, "set both where the account has them")
