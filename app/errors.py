"""What can be wrong, named after what is wrong. Imports nothing."""


class BadCallback(Exception):
    """A request that WeChat's server would not have sent. Its text goes to the log, never to the sender.

    ``reason`` is what it is counted under.
    """

    reason: str


class BadSignature(BadCallback):
    """Signed by somebody else, or not at all."""

    reason = "signature"


class StaleSignature(BadSignature):
    """Signed too long ago, or with a clock that is wrong."""

    reason = "stale"


class ReplayedSignature(BadSignature):
    """Signed for another message."""

    reason = "replayed"


class NotSealed(BadSignature):
    """In plaintext, where all messages come sealed."""

    reason = "plaintext"


class BadCiphertext(BadCallback):
    """Sealed with another key, for another account, or damaged."""

    reason = "ciphertext"


class BadMessage(BadCallback):
    """Not XML, or XML that is no message."""

    reason = "message"


class BodyTooLarge(BadCallback):
    """Longer than any message of WeChat."""

    reason = "too large"


class BadReply(Exception):
    """A handler returned what cannot be sent to a fan. The text says what came and what is expected."""


class Busy(Exception):
    """As many handlers run as may run at once."""


class BadMenu(Exception):
    """A menu that WeChat would refuse, or that cannot be pushed now. The text names each button that is wrong."""


class StoreError(Exception):
    """The database cannot be asked, or says no. The text says what and what to do, without a password."""


class Conflict(StoreError):
    """Somebody else changed the same at the same time; once more may do."""


class Taken(Conflict):
    """What must be there once is there already."""


class BadText(StoreError):
    """Text that the database's character set cannot hold."""


class ConfigError(Exception):
    """A start that cannot go on. ``problems`` holds one line for each thing that is wrong."""

    problems: tuple[str, ...] = ()

    @classmethod
    def listing(cls, what: str, problems: list[str]) -> "ConfigError":
        """Return an error whose text is ``what`` and below it one line a problem."""
        error = cls("\n  - ".join([f"{what}:", *problems]))
        error.problems = tuple(problems)
        return error


# What WeChat's common codes mean, and what to do.
# https://developers.weixin.qq.com/doc/offiaccount/Getting_Started/Global_Return_Code.html
_MEANINGS = {
    -1: "WeChat is busy; try again in a moment",
    40001: "the access token or the AppSecret is wrong",
    40003: "no such openid in this account",
    40007: "no such media_id, or it is older than 3 days",
    40013: "no such appid: compare WECHAT_APPID with the page",
    40014: "the access token is wrong",
    40029: "the code is wrong, or it was made for another account",
    40054: "a button's URL is wrong",
    40125: "the AppSecret is wrong: compare WECHAT_APPSECRET with the page",
    40163: "the code has been used",
    40164: "this server's address is not on the account's IP white list",
    40243: "the AppSecret is frozen: thaw it on the page",
    41001: "the access token is missing",
    42001: "the access token has ended",
    43004: "the fan does not follow the account",
    45009: "the quota of this call is used up until midnight in Beijing",
    45011: "too many calls in this minute",
    45015: "the fan has not written within the last 48 hours",
    45047: "the messages that may follow what the fan did are used up",
    46003: "there is no menu",
    48001: "the account may not make this call: see the page's list of capabilities",
    50002: "the account is restricted",
    61024: "the conditional menus of this account are not made here",
    65301: "there is no conditional menu with this id",
    65320: "a conditional menu takes tag_id and client_platform_type, and nothing else",
    89503: "this call waits for the administrator's consent",
    89506: "this address was refused by the administrator",
}


class ApiError(Exception):
    """WeChat's API refused a call, or could not be asked: then ``errcode`` is None and ``errmsg`` says why.

    ``rid`` is WeChat's name for the call, which its support asks for. ``unsent`` is what remains of a value that was
    sent in part, and can still be sent; None where nothing was sent.
    """

    unsent: object = None

    def __init__(self, errcode: int | None, errmsg: str, rid: str = "") -> None:
        Exception.__init__(self, errcode, errmsg, rid)  # not super(): a subclass is wechatpy's exception, too
        self.errcode, self.errmsg, self.rid = errcode, errmsg, rid

    def __str__(self) -> str:
        meaning = _MEANINGS.get(self.errcode) if self.errcode is not None else None
        parts = [] if self.errcode is None else [f"errcode {self.errcode}"]
        parts += filter(None, [meaning, self.errmsg and f"WeChat says: {self.errmsg}" if parts else self.errmsg])
        return "; ".join(parts) + (f" (rid {self.rid})" if self.rid and self.rid not in self.errmsg else "")
