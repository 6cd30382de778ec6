"""How far this machine's clock is from the one that signs WeChat's messages."""

import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from app.errors import ApiError
from app.near import is_this_machine

_TIMEOUT_SECONDS = (3.0, 5.0)


def skew_seconds(url: str) -> float:
    """Return how many seconds this clock is ahead of the one of the server at ``url``, within about one.

    Any answer of it will do. Raises ApiError where there is none, or one without a date.
    """
    started, host = time.time(), urlsplit(url).hostname
    try:
        with requests.Session() as http:
            http.trust_env = not is_this_machine(host or "")  # no proxy between two on one machine
            answer = http.head(url, timeout=_TIMEOUT_SECONDS, allow_redirects=False)
        date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except requests.RequestException as error:
        raise ApiError(None, f"{host} cannot be asked for the time ({type(error).__name__})") from None
    except (KeyError, ValueError) as error:
        raise ApiError(None, f"{host} does not say what time it is") from error
    # The date has no fractions: on the average it is half a second old.
    return (started + time.time()) / 2 - (date + 0.5)
