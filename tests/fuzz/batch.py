"""A number of cases from one seed, whose failures are gathered."""

from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed as seeded, settings
from hypothesis.errors import UnsatisfiedAssumption

from fuzz.cases import CHECKS, Case, WrongError, cases, minimised


def batch(check: str, seed: int, examples: int) -> tuple[list[str], Counter[str]]:
    """Try so many cases; return the failures and what became of the cases."""
    failed: list[Case] = []
    count: Counter[str] = Counter()

    # Failures are gathered, not raised: hypothesis would stop at the first.
    @seeded(seed)
    @settings(
        max_examples=examples, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(cases())
    def run(case: Case) -> None:
        count["tried"] += 1
        try:
            CHECKS[check](case)
        except WrongError:
            failed.append(case)
        except UnsatisfiedAssumption:
            count["refused"] += 1
            raise

    run()
    count["failed"] = len(failed)
    texts = {}
    for case in failed[:5]:
        error = minimised(case, CHECKS[check])
        if error is not None:
            texts[error.case.formula.code] = f"[{check}, seed {seed}] {error}"
    return list(texts.values()), count
