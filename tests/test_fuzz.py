"""Random formulas over the whole language against an oracle of its own, the same ones each time; and those that once failed.

`python -m fuzz` in this folder looks for new ones for as long as it is told to: see CONTRIBUTING.md.
"""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fuzz.cases import CHECKS, Case, WrongError, cases, minimised
from fuzz.failures import FAILURES

#: How many cases each check gets: about two minutes on two cores, most for what is asked most often.
EXAMPLES = {
    "numbers": 120,
    "layouts": 20,
    "broadcast_parameters": 60,
    "both_at_once": 20,
    "torch": 40,
    "vmap": 20,
    "facts": 20,
    "text": 60,
}

pytestmark = [
    pytest.mark.usefixtures("registry"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
]


@pytest.mark.parametrize("check", CHECKS)
def test_random_formulas(check: str) -> None:
    # Without hypothesis' own shrinking: `minimised` knows what a formula is.
    @settings(
        max_examples=EXAMPLES[check], derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(cases())
    def run(case: Case) -> None:
        try:
            CHECKS[check](case)
        except WrongError:
            smallest = minimised(case, CHECKS[check])
            assert smallest is not None, f"{case} fails once and not again"
            raise smallest from None

    run()


@pytest.mark.parametrize("name", FAILURES)
def test_formulas_that_failed_once(name: str) -> None:
    check, case = FAILURES[name]
    CHECKS[check](case)
