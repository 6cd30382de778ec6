import pytest

from tests.bench.bench import CONTENDERS, Contender, measure

OURS = [contender for contender in CONTENDERS if contender.target]


@pytest.mark.parametrize("contender", OURS, ids=lambda contender: contender.name)
def test_every_reply_of_a_second_under_load_is_right(contender: Contender) -> None:
    result = measure(contender, 1)
    assert result.requests_per_second > 0
