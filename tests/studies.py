"""What tests of studies share: small ones, and what of them must not depend on how they were run."""

from typing import Any

from nonlin.comparison.study import Study

SMALL: dict[str, Any] = dict(activations=["relu", "tanh", "gelu"], seeds=2, splits=2, steps=40, learning_rates=[1e-3, 1e-2])


def rows_of(path: Any) -> dict[str, tuple[Any, ...]]:
    """Everything that the ledger holds of each run but the times."""
    from nonlin.comparison.ledger import Ledger

    with Ledger(path, writable=False) as ledger:
        return {
            row["key"]: tuple((name, repr(row[name])) for name in sorted(row) if name not in ("seconds", "finished"))
            for row in ledger.rows()
        }


def table_of(study: Study) -> list[dict[str, Any]]:
    """The leaderboard but for the times."""
    return study.table().drop(columns="seconds").to_dict("records")  # type: ignore[no-any-return]
