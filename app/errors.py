"""What can be wrong, named after what is wrong. Imports nothing."""


class BadCallback(Exception):
    """A request that WeChat's server would not have sent. Its text goes to the log, never to the sender."""


class BadSignature(BadCallback):
    """Signed by somebody else, signed too long ago, or signed for another message."""


class BadCiphertext(BadCallback):
    """Sealed with another key, for another account, or damaged."""


class BadMessage(BadCallback):
    """Not XML, or XML that is no message."""


class BodyTooLarge(BadCallback):
    """Longer than any message of WeChat."""


class BadReply(Exception):
    """A handler returned what cannot be sent to a fan. The text says what came and what is expected."""


class Busy(Exception):
    """As many handlers run as may run at once."""


class ConfigError(Exception):
    """A start that cannot go on. ``problems`` holds one line for each thing that is wrong."""

    problems: tuple[str, ...] = ()

    @classmethod
    def listing(cls, what: str, problems: list[str]) -> "ConfigError":
        """Return an error whose text is ``what`` and below it one line a problem."""
        error = cls("\n  - ".join([f"{what}:", *problems]))
        error.problems = tuple(problems)
        return error
