from dataclasses import dataclass, field
from typing import Any

import pytest

from forgetfilter.config.bounds import SHARE, at_least, bounded, check_bounds, not_negative, positive, share
from forgetfilter.errors import UserError


@dataclass(frozen=True)
class Inner:
    lr: float = positive(0.5)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    many: dict[str, Inner] = field(default_factory=dict)
    budget: dict[str, float] = field(default_factory=dict, metadata={"bound": SHARE})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"bound": at_least(0)})
    count: int = not_negative(0)
    part: float | None = share(None)
    length: int = bounded(4, at_least(2))


NESTED: Any = [{"a": 1}, [1]]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Outer(inner=Inner(-1.0)), "inner.lr must be positive, got -1.0"),
        (Outer(inner=Inner(float("nan"))), "inner.lr must be positive, got nan"),
        (Outer(inner=Inner(float("inf"))), "inner.lr must be positive, got inf"),
        (Outer(many={"a": Inner(), "b": Inner(0.0)}), "many.b.lr must be positive, got 0.0"),
        (Outer(budget={"x": 1.5}), "budget.x must be between 0 and 1, got 1.5"),
        (Outer(seeds=[3, -1]), "seeds[1] must be at least 0, got -1"),
        (Outer(seeds=NESTED[:1]), "seeds[0] must be a single value, got a mapping"),
        (Outer(seeds=NESTED[1:]), "seeds[0] must be a single value, got a list"),
        (Outer(count=-2), "count must not be negative, got -2"),
        (Outer(part=2.0), "part must be between 0 and 1, got 2.0"),
        (Outer(length=1), "length must be at least 2, got 1"),
    ],
)
def test_a_value_outside_of_its_bound_is_refused_by_its_key(value: Outer, said: str) -> None:
    # This holds in a section, in a section by name, in a mapping and in a list; NaN is within no bound.
    check_bounds(Outer())
    with pytest.raises(UserError) as caught:
        check_bounds(value)
    assert str(caught.value) == said
