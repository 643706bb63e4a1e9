"""Studies, from the plan over engines and ledger to the same table, whatever happened on the way."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nonlin as nl
from nonlin.comparison import DataError, LedgerError, PlanError, compare, engine, load, read
from nonlin.comparison.budget import CARE, Budget
from nonlin.comparison.engine import MOST_ATTEMPTS, Local
from nonlin.comparison.ledger import Ledger
from nonlin.comparison.plan import Plan, gather
from nonlin.definition import Registry
from studies import SMALL, rows_of, table_of

KILLED: dict[str, Any] = {**SMALL, "steps": 200}
ARGUMENTS = (
    "compare iris -a relu,tanh,gelu --seeds 2 --splits 2 --steps 200 --learning-rates 0.001,0.01 --study s.study".split()
)
RUNS = 3 * (2 + 2) * 2 + 3 * 2  # two rates and two seeds, of two splits, and the baselines

# A process that has loaded everything, and is forked for each command: loading takes longer than these studies.
FORKING = """
import json, os, resource, signal, sys
import nonlin.cli, nonlin.comparison.terminal, nonlin.comparison.training
from nonlin.comparison import compare
compare("iris", activations=["relu", "tanh", "gelu"], seeds=1, splits=1, steps=20, workers=0).html()
for line in sys.stdin:
    folder, arguments, largest = json.loads(line)
    pid = os.fork()
    if not pid:
        os.chdir(folder)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's jobs in the background ignore it
        sys.argv = ["nonlin", *arguments]
        nonlin.cli.main()
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Command:
    """A ``nonlin`` that runs in a process of its own."""

    def __init__(self, parent: subprocess.Popen[str], folder: Path) -> None:
        assert parent.stdout is not None
        self._parent, self._folder = parent.stdout, folder
        self.pid = int(self._parent.readline())

    def finish(self) -> tuple[int, str, str]:
        code = int(self._parent.readline())
        return code, (self._folder / "out").read_text(), (self._folder / "err").read_text()

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):  # it may be done
            os.kill(self.pid, number)


Start = Callable[..., Command]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    if not hasattr(os, "fork"):
        pytest.skip("processes cannot be forked here")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads do not survive a fork
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )

    def start(folder: Path, *more: str, largest: int = -1) -> Command:
        assert parent.stdin is not None
        parent.stdin.write(json.dumps([str(folder), [*ARGUMENTS, *more], largest]) + "\n")
        parent.stdin.flush()
        return Command(parent, folder)

    yield start
    parent.communicate()


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("undisturbed") / "s.study"
    compare("iris", **KILLED, workers=0, study=path)
    return rows_of(path)


def wait_for(something: Callable[[], Any]) -> None:
    """Wait until it is so; a minute is longer than it takes on the slowest machine."""
    for _ in range(600):
        if something():
            return
        time.sleep(0.1)
    pytest.fail("it never happened")


needs_proc = pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to find the workers")


def check_that_no_work_was_lost(path: Path) -> None:
    """Each run is there once, and none was started again after it had been finished."""
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*), count(DISTINCT key || step_limit) FROM runs").fetchone() == (RUNS, RUNS)
    late = "SELECT count(*) FROM attempts JOIN runs USING (key) WHERE started > finished"
    assert db.execute(late).fetchone() == (0,)
    db.close()


# --- whatever happens -------------------------------------------------------------------------------------------------


def test_killed_at_ten_random_moments(tmp_path: Path, start: Start, undisturbed: dict[str, Any]) -> None:
    moments = random.Random(0)
    kept = -1
    for _ in range(10):
        command = start(tmp_path, "--workers", "0")
        time.sleep(moments.uniform(0, 0.8))
        command.kill()
        command.finish()
        try:
            rows = len(rows_of(tmp_path / "s.study"))
        except LedgerError:  # killed before the file was made
            rows = 0
        assert rows >= kept
        kept = rows
    code, _, err = start(tmp_path, "--workers", "0").finish()
    assert (code, err) == (0, "")
    assert rows_of(tmp_path / "s.study") == undisturbed
    check_that_no_work_was_lost(tmp_path / "s.study")


@needs_proc
def test_workers_end_with_their_driver_and_leave_what_they_finished(
    tmp_path: Path, start: Start, undisturbed: dict[str, Any]
) -> None:
    command = start(tmp_path, "--workers", "2")
    wait_for(lambda: (tmp_path / "s.study").exists() and rows_of(tmp_path / "s.study"))
    workers = children_of(command.pid)
    command.kill()
    command.finish()
    for pid in workers:
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists() or "(zombie)" in Path(f"/proc/{pid}/status").read_text())
    compare("iris", **KILLED, workers=0, study=tmp_path / "s.study")
    assert rows_of(tmp_path / "s.study") == undisturbed
    check_that_no_work_was_lost(tmp_path / "s.study")


@needs_proc
def test_workers_that_are_killed_are_replaced(tmp_path: Path, start: Start, undisturbed: dict[str, Any]) -> None:
    command = start(tmp_path, "--workers", "2")
    killed: set[int] = set()
    chance = random.Random(1)
    # One kill less than the attempts that a stack has, which may hit the same one every time.
    while len(killed) < MOST_ATTEMPTS - 1 and Path(f"/proc/{command.pid}").exists():
        time.sleep(chance.uniform(0.1, 1.5))
        workers = [pid for pid in children_of(command.pid) if pid not in killed]
        if workers:
            killed.add(victim := chance.choice(workers))
            os.kill(victim, signal.SIGKILL)
    code, _, err = command.finish()
    assert (code, err) == (0, "")
    assert killed
    assert rows_of(tmp_path / "s.study") == undisturbed
    check_that_no_work_was_lost(tmp_path / "s.study")


@needs_proc
def test_ctrl_c_says_how_to_go_on(tmp_path: Path, start: Start, undisturbed: dict[str, Any]) -> None:
    command = start(tmp_path, "--workers", "1")
    wait_for(lambda: children_of(command.pid))
    command.kill(signal.SIGINT)
    code, out, err = command.finish()
    assert (code, out) == (130, "")
    assert err.strip() == f"stopped; s.study keeps what was finished. To go on: nonlin {' '.join(ARGUMENTS)} --workers 1"
    compare("iris", **KILLED, workers=0, study=tmp_path / "s.study")
    assert rows_of(tmp_path / "s.study") == undisturbed


def test_the_engines_agree(tmp_path: Path, registry: Registry) -> None:
    """Also about an activation of the user's, which has to reach the workers."""

    @nl.activation
    def wobble(x: Any, beta: float = 0.5) -> Any:
        """ReLU with a wave."""
        return nl.where(x > 0, x + beta * nl.sin(x), 0.1 * x)

    field = {**SMALL, "activations": ["relu", wobble, "leaky_relu(negative_slope=0.3)"]}
    here = compare("iris", **field, workers=0, study=tmp_path / "a.study")
    there = compare("iris", **field, workers=2, study=tmp_path / "b.study")
    assert rows_of(tmp_path / "a.study") == rows_of(tmp_path / "b.study")
    assert table_of(here) == table_of(there)
    assert {entry.name for entry in there.analysis.tables[0].entries} == {"relu", "wobble", "leaky_relu(negative_slope=0.3)"}
    assert there.analysis.missing == 0


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_gives_the_same_table_though_a_worker_is_killed(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    arguments = {**SMALL, "steps": 100}
    expected = compare("iris", **arguments, workers=0, study=tmp_path / "a.study")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        killed: list[int] = []

        def kill_one(progress: Any) -> None:
            if progress.fresh and not killed:
                workers = [
                    pid
                    for pid in _descendants(os.getpid())
                    if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::_train")
                ]
                if workers:
                    killed.append(workers[0])
                    os.kill(workers[0], signal.SIGKILL)

        found = compare("iris", **arguments, engine="ray", study=tmp_path / "b.study", progress=kill_one)
    finally:
        ray.shutdown()
    assert killed
    assert rows_of(tmp_path / "a.study") == rows_of(tmp_path / "b.study")
    assert table_of(expected) == table_of(found)


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_gives_the_same_table_though_nodes_come_and_go(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the ray extra is for many machines, and CI has one")
    from ray.cluster_utils import Cluster

    arguments = {**SMALL, "steps": 100}
    expected = compare("iris", **arguments, workers=0, study=tmp_path / "a.study")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        late: list[Any] = []

        def come_and_go(progress: Any) -> None:
            if progress.fresh and not late:
                late.append(cluster.add_node(num_cpus=1))
            elif len(late) == 1 and progress.fresh > 2:
                late.append("gone")
                cluster.remove_node(late[0], allow_graceful=False)

        found = compare(
            "iris",
            **arguments,
            engine="ray",
            address=cluster.address,
            study=tmp_path / "b.study",
            progress=come_and_go,
        )
    finally:
        cluster.shutdown()
    assert late[1:] == ["gone"]
    assert rows_of(tmp_path / "a.study") == rows_of(tmp_path / "b.study")
    assert table_of(expected) == table_of(found)


def test_an_address_without_a_cluster() -> None:
    pytest.importorskip("ray")
    with pytest.raises(PlanError, match=r"there is no Ray cluster at 127.0.0.1:1: .*refused"):
        compare("iris", **SMALL, engine="ray", address="127.0.0.1:1")


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PlanError, match="the Ray engine needs ray, which is missing: pip install"):
        compare("iris", **SMALL, engine="ray")


def _descendants(pid: int) -> list[int]:
    found, new = [], [pid]
    while new:
        new = [child for parent in new for child in children_of(parent)]
        found += new
    return found


class _Deadly:
    """An activation whose unpickling ends the process: a worker that dies of its stack each time."""

    gains = {"exact": 1.0}  # noqa: RUF012

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


def test_a_stack_that_kills_its_workers_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    import nonlin.comparison.running as module

    real = module.ingredients

    def deadly(activation: Any, gains: Any) -> Any:
        return _Deadly() if activation.name == "tanh" else real(activation, gains)

    monkeypatch.setattr(module, "ingredients", deadly)
    monkeypatch.setattr(engine, "MOST_ATTEMPTS", 2)  # a worker takes seconds to start
    found = compare("iris", **{**SMALL, "activations": ["relu", "tanh"], "learning_rates": [0.01]}, workers=1)
    assert found.analysis.tables[0].excluded == {"tanh": "its worker died 2 times"}
    assert "Runs that failed: tanh all (its worker died 2 times)." in found.verdict


# --- the ledger ---------------------------------------------------------------------------------------------------------


def test_only_what_is_missing_is_run(tmp_path: Path) -> None:
    path = tmp_path / "s.study"
    first = compare("iris", **SMALL, workers=0, study=path)
    done: list[Any] = []
    again = compare("iris", **SMALL, workers=0, study=path, progress=done.append)
    assert done[-1].fresh == 0
    assert table_of(again) == table_of(first)
    more = compare("iris", **{**SMALL, "seeds": 3}, workers=0, study=path, progress=done.append)
    assert done[-1].fresh == 3 * 1 * 2
    assert more.plan.networks == 3 * (2 + 3) * 2
    direct = compare("iris", **{**SMALL, "seeds": 3}, workers=0)
    assert table_of(more) == table_of(direct)


def test_a_study_is_read_without_training(tmp_path: Path) -> None:
    path = tmp_path / "s.study"
    found = compare("iris", **SMALL, workers=0, study=path)
    before = path.read_bytes()
    assert table_of(read(path)) == table_of(found)
    assert path.read_bytes() == before


def test_a_study_whose_writer_was_killed_in_the_middle_of_a_transaction_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.study"
    found = compare("iris", **SMALL, workers=0, study=path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA cache_size = 1")  # so that half of it is on the disk before it ends
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO attempts VALUES (?, 'x', 0)", [(f"{i}" * 50,) for i in range(2000)])
    (killed := tmp_path / "killed.study").write_bytes(path.read_bytes())
    (tmp_path / "killed.study-journal").write_bytes((tmp_path / "s.study-journal").read_bytes())
    db.execute("ROLLBACK")
    db.close()
    assert table_of(read(killed)) == table_of(found)


def test_a_study_that_is_not_complete_is_judged_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "s.study"
    compare("iris", **SMALL, workers=0, study=path)
    db = sqlite3.connect(path)
    db.execute("DELETE FROM runs WHERE activation = 'gelu'")
    db.commit()
    db.close()
    found = read(path)
    assert [entry.name for entry in found.analysis.tables[0].entries if entry.name == "gelu"] == []
    assert "The study is not finished: 8 of 30 runs are still missing" in found.verdict
    assert "gelu has not been judged yet, so nothing is said of the others" in found.verdict
    assert "tie" not in found.verdict


def test_other_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.study"
    compare("iris", **SMALL, workers=0, study=path)
    with pytest.raises(LedgerError, match=r"is a study of iris, not of wine: choose another --study file, or move .* away"):
        compare("wine", **SMALL, workers=0, study=path)
    iris = load("iris")
    with pytest.raises(LedgerError, match=r"is a study of other data under the name iris \(150 rows, here 140\)"):
        compare(load(iris.numeric[:140], iris.target[:140], name="iris"), **SMALL, workers=0, study=path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.study"
    compare("iris", **SMALL, workers=0, study=path)
    with Ledger(path) as ledger:
        ledger.note("versions", {**ledger.get("versions"), "torch": "1.0"})
    with pytest.raises(
        LedgerError, match=r"was made with torch 1.0 \(now .*\), so its runs do not compare with new ones: choose"
    ):
        compare("iris", **SMALL, workers=0, study=path)


def test_the_same_name_with_another_formula_is_refused(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "s.study"
    one = nl.activation(name="mine")(lambda x: x * nl.sigmoid(x))
    compare("iris", **{**SMALL, "activations": ["relu", one]}, workers=0, study=path)
    two = nl.activation(name="mine")(lambda x: x * nl.tanh(x))
    with pytest.raises(LedgerError, match="mine has another formula or other parameters"):
        compare("iris", **{**SMALL, "activations": ["relu", two]}, workers=0, study=path)


@pytest.mark.parametrize("content", [b"hello, this is no database at all" * 9, None])
def test_a_file_that_is_no_study_is_left_alone(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "precious.db"
    if content is None:
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE mine (a)")
        db.commit()
        db.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"is no study file|is not a study of nonlin"):
        compare("iris", **SMALL, workers=0, study=path)
    with pytest.raises(LedgerError, match=r"is no study file|is not a study of nonlin"):
        read(path)
    assert path.read_bytes() == before


def test_two_at_a_time_are_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s.study"), pytest.raises(LedgerError, match="is in use by another process"):
        compare("iris", **SMALL, workers=0, study=tmp_path / "s.study")


def test_a_locked_ledger_stops_cleanly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.study"
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **{**k, "timeout": 0.1}))
    other: list[sqlite3.Connection] = []

    def lock(progress: Any) -> None:
        if progress.fresh >= 8 and not other:
            other.append(real(path))
            other[0].execute("BEGIN EXCLUSIVE")

    with pytest.raises(LedgerError, match="is locked by another program; it holds all runs that were finished before"):
        compare("iris", **SMALL, workers=0, study=path, progress=lock)
    other[0].close()
    with Ledger(path, writable=False) as ledger:
        assert len(ledger.rows()) == 10
    assert compare("iris", **SMALL, workers=0, study=path).analysis.missing == 0


def test_a_full_disk_stops_cleanly(tmp_path: Path, start: Start) -> None:
    code, _, err = start(tmp_path, "--workers", "0", largest=36_000).finish()
    assert code == 2
    assert err.count("\n") == 1
    assert "s.study holds all runs that were finished before" in err or "cannot be used" in err
    assert 0 < len(rows_of(tmp_path / "s.study")) < RUNS
    compare("iris", **KILLED, workers=0, study=tmp_path / "s.study")
    check_that_no_work_was_lost(tmp_path / "s.study")


def test_no_study_to_read(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no study"):
        read(tmp_path / "none.study")
    with Ledger(tmp_path / "empty.study"):
        pass
    with pytest.raises(LedgerError, match="holds no plan"):
        read(tmp_path / "empty.study")


# --- what is asked for ----------------------------------------------------------------------------------------------------


def test_an_own_model_reaches_the_workers() -> None:
    digits = load("digits")

    def small_cnn(activation: Any) -> Any:
        from torch import nn

        return nn.Sequential(nn.Conv2d(1, 4, 3), activation, nn.Flatten(), nn.Linear(144, 10))

    X, y = digits.numeric.reshape(-1, 1, 8, 8)[:200], digits.target[:200]
    found = compare(X, y, model=small_cnn, activations=["relu", "gelu"], seeds=2, splits=1, epochs=3, workers=1)
    assert found.plan.model.startswith("small_cnn [")
    assert found.plan.gains == ("own",)
    assert all(entry.failed == 0 for entry in found.analysis.tables[0].entries)
    with pytest.raises(PlanError, match="has its own widths"):
        compare(X, y, model=small_cnn, widths=3)


def test_several_data_sets_are_ranked() -> None:
    found = compare(["iris", "wine", "diabetes"], **SMALL, workers=0)
    assert [table.dataset["name"] for table in found.analysis.tables] == ["iris", "wine", "diabetes"]
    assert found.analysis.overall is not None
    assert sum(found.analysis.overall.mean.values()) == pytest.approx(6)
    assert "Over 3 data sets" in found.verdict
    assert "Over all data sets" in found.html()


def test_a_frame_with_everything() -> None:
    import pandas as pd

    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"a": generator.normal(size=90), "kind": generator.choice(["x", "y"], 90)})
    frame["price"] = 3 * frame["a"] + (frame["kind"] == "x") + generator.normal(0, 0.1, 90)
    frame.loc[4, "a"] = np.nan
    found = compare(frame, "price", **{**SMALL, "steps": 200}, workers=0)
    assert found.analysis.tables[0].leader.mean > 0.6
    assert "R²" in found.verdict


def test_a_budget_sizes_the_study_once(tmp_path: Path) -> None:
    path = tmp_path / "s.study"
    arguments: dict[str, Any] = dict(activations=["relu", "tanh"], budget=30, steps=60, splits=6, learning_rates=[1e-3, 1e-2])
    found = compare("iris", **arguments, workers=0, study=path)
    again = compare("iris", **arguments, workers=0, study=path)
    assert found.plan == again.plan
    assert found.plan.seeds > 3  # there was time for more
    assert found.analysis.missing == 0
    assert found.verdict.startswith("Sized to 30 s: nothing was left out")


def test_a_budget_that_holds_nothing_says_what_would_do() -> None:
    with pytest.raises(PlanError, match=r"a budget of 0.5 s cannot hold the least study .* about \d+ s would"):
        compare("iris", budget=0.5, workers=0)


def test_an_engine_runs_more_than_once() -> None:
    """What workers of an earlier run say when they end is not for the next one."""
    runner = Local(1)
    for _ in range(2):
        found = compare("iris", activations=["relu", "tanh"], seeds=1, splits=2, steps=20, engine=runner)
        assert found.analysis.missing == 0


def test_workers_do_not_import_what_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data beside a folder torch, as in ISLP's package: every worker died."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "random.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(filter(None, sys.path)))
    found = compare("iris", activations=["relu", "tanh"], seeds=1, splits=2, steps=20, engine=Local(1))
    assert found.analysis.missing == 0
    assert not any(entry.failed for entry in found.analysis.tables[0].entries)


def test_a_budget_does_not_wait_for_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget of 25 s took 39 s: it was looked at only when something was finished. Here nothing ever would be."""
    monkeypatch.setattr(Budget, "sized", lambda self, plan, sets: plan)
    monkeypatch.setattr(Budget, "is_over", lambda self: True)
    found = compare("iris", activations=["relu", "tanh"], budget=60, steps=10**9, learning_rates=[1e-3], engine=Local(1))
    assert found.analysis.missing > 0
    assert "not finished" in found.verdict


def test_a_lane_without_an_activation_of_its_own_stands_still() -> None:
    """Three activations take two lanes as long as four do."""
    data = load(np.random.default_rng(0).normal(size=(300, 3)), np.arange(300) % 2, name="d")
    budget = Budget(1000.0, 0.0, 2, set())
    budget._trials = {"d": {10: [0.2], 110: [0.4]}}

    def takes(*names: str) -> float:
        networks = Plan(datasets=("d",), activations=names)
        return budget._takes(networks, {"d": data}) - 0.25 * CARE * len(names)  # but for facts and kernels

    assert takes("relu", "tanh", "elu") == pytest.approx(takes("relu", "tanh", "elu", "gelu"))
    assert takes("relu", "tanh") < takes("relu", "tanh", "elu")


def test_sizing_gives_up_seeds_first_and_rows_last() -> None:
    budget = Budget(1.0, 0.0, 1, set())
    data = load(np.random.default_rng(0).normal(size=(6000, 3)), np.arange(6000) % 2, name="d")
    plans = list(budget._candidates(Plan(datasets=("d",)), {"d": data}))
    assert plans[0] == Plan(datasets=("d",))
    shown = [(p.splits, p.seeds, len(p.learning_rates), p.steps, p.rows) for p in plans]
    assert shown[:5] == [
        (10, 3, 5, None, None),
        (10, 2, 5, None, None),
        (8, 2, 5, None, None),
        (6, 2, 5, None, None),
        (10, 3, 3, None, None),
    ]
    assert {p.rows for p in plans} == {None, 5000, 2000, 1000}
    fixed = Budget(1.0, 0.0, 1, {"seeds", "learning_rates"})
    assert {(p.seeds, p.learning_rates) for p in fixed._candidates(Plan(seeds=7), {"d": data})} == {(7, Plan().learning_rates)}


def test_what_a_worker_or_a_network_takes_once_is_not_taken_for_what_steps_take() -> None:
    """A small table was said to need many times what it takes: of short trials most is such time."""
    budget, plan = Budget(1000.0, 0.0, 2, set()), Plan(datasets=("d",))
    data = load(np.random.default_rng(0).normal(size=(300, 3)), np.arange(300) % 2, name="d")
    once, per_step = 0.01, 1e-4
    # The second worker starts late: the first has done measured trials by then, and the second begins with one.
    tasks = budget.trial(plan, {"d": data})
    started_late = [tasks[k] for k in (0, 2, 1, 3, 4, 5)]
    for k, (stack, short) in enumerate(started_late):
        assert short.steps is not None
        networks = len(stack.members)
        wall = networks * (once + short.steps * per_step) + (3.0 if k in (0, 1) else 0)
        budget.tried(stack, [{"status": "ok", "steps": short.steps}] * networks, wall)
    # Two are trained at once.
    assert budget._costs("d") == (pytest.approx(once / 2), pytest.approx(per_step / 2))


def test_training_becomes_longer_where_curves_still_rise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that had turned are kept, and a second start finds everything."""
    monkeypatch.setattr("nonlin.comparison.plan.CHECKS", 10)
    path = tmp_path / "s.study"
    arguments: dict[str, Any] = dict(activations=["relu", "tanh"], seeds=2, splits=3, learning_rates=[1e-3], widths=8)
    found = compare("iris", **arguments, workers=0, study=path)
    assert found.plan.stretch > 1
    assert found.analysis.missing == 0
    seen: list[Any] = []
    again = compare("iris", **arguments, workers=0, study=path, progress=seen.append)
    assert seen[-1].fresh == 0
    assert again.plan == found.plan
    assert table_of(again) == table_of(found)
    with Ledger(path, writable=False) as ledger:
        rows = ledger.rows()
    limits: dict[str, list[Any]] = {}
    for row in rows:
        limits.setdefault(row["key"], []).append((row["step_limit"], row["ended"]))
    assert any(len(some) > 1 for some in limits.values())
    for some in limits.values():  # only what had reached its limit was trained again
        assert all(ended == "limit" for _, ended in sorted(some)[:-1])


def test_no_test_row_is_looked_at_before_a_network_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "s.study"
    compare("iris", **SMALL, workers=0, study=path)
    with Ledger(path, writable=False) as ledger:
        rows = ledger.rows()
    assert {row["kind"] for row in rows} == {"tuning", "judged", "baseline"}
    for row in rows:
        assert (row["score"] is None) == (row["kind"] == "tuning")
    tuning, judged = ({row["seed"] for row in rows if row["kind"] == kind} for kind in ("tuning", "judged"))
    assert not tuning & judged


@pytest.mark.parametrize(
    ("metric", "data"),
    [
        ("balanced-accuracy", "wine"),
        ("AUC", "wine"),
        ("log-loss", "wine"),
        ("auc", "two_moons"),
        ("MAE", "diabetes"),
        ("r2", "diabetes"),
    ],
)
def test_metrics(metric: str, data: str) -> None:
    found = compare(data, **{**SMALL, "steps": 60}, metric=metric, workers=0)
    table = found.analysis.tables[0]
    assert table.metric.name.lower().replace(" ", "-").replace("²", "2") == metric.lower()
    shown = found.table()["score"]
    assert (shown > 0).all() or metric == "r2"
    assert table.metric.name in found.verdict
    assert found.html()


def test_a_metric_of_another_task_is_refused() -> None:
    with pytest.raises(PlanError, match="MAE is for regression, and iris is classification"):
        compare("iris", metric="mae")
    with pytest.raises(PlanError, match="there is no metric 'speed': there are accuracy, balanced-accuracy, AUC, log-loss"):
        compare("iris", metric="speed")


class _Net:
    """Bad models, and what is said of them."""

    def never(activation: Any) -> Any:  # noqa: N805
        from torch import nn

        return nn.Linear(4, 3)

    def shape(activation: Any) -> Any:  # noqa: N805
        from torch import nn

        return nn.Sequential(nn.Linear(4, 2), activation)

    def no_module(activation: Any) -> Any:  # noqa: N805
        return 5

    def raises(activation: Any) -> Any:  # noqa: N805
        raise ZeroDivisionError("on purpose")


def test_models_are_checked_once_before_the_study() -> None:
    from torch import nn

    for model, message in (
        (_Net.never, "the model never never applies the activation that it is given: all activations would be alike"),
        (
            _Net.shape,
            r"the model shape does not work on rows of 4 numbers: ValueError: the model must return 3 numbers per row",
        ),
        (_Net.no_module, "must return a torch.nn.Module, got int"),
        (_Net.raises, "the model raises does not work on rows of 4 numbers: ZeroDivisionError: on purpose"),
        (
            nn.Sequential(nn.Linear(4, 3)),
            "the model is a Sequential already, and each run needs one of its own: give a function",
        ),
        ("resnet", "there is no model 'resnet': ready ones are mlp, resnet-mlp, cnn, transformer"),
        (5, "the model must be a function, got int"),
        ("cnn", "the model cnn is for images, and a row of iris has the shape"),
    ):
        with pytest.raises(PlanError, match=message):
            compare("iris", model=model, **SMALL, workers=0)


@pytest.mark.parametrize("shape", [(64,), (8, 8), (1, 8, 8), (8, 8, 1)])
@pytest.mark.parametrize("model", ["resnet-mlp", "cnn", "transformer", None])
def test_ready_models(model: str | None, shape: tuple[int, ...]) -> None:
    digits = load("digits")
    X, y = digits.numeric[:150].reshape(-1, *shape), digits.target[:150] % 2
    suits = {"cnn": len(shape) > 1, "transformer": len(shape) < 3}.get(model or "", True)
    arguments: dict[str, Any] = dict(
        activations=["relu", "gelu"], seeds=1, splits=1, steps=20, learning_rates=[1e-3], workers=0
    )
    if not suits:
        with pytest.raises(PlanError, match=f"the model {model} is for"):
            compare(X, y, model=model, **arguments)
        return
    found = compare(X, y, model=model, **arguments)
    assert found.plan.model == (model or ("cnn" if len(shape) > 1 else "mlp"))
    assert all(entry.failed == 0 for entry in found.analysis.tables[0].entries)


def test_several_targets_of_a_regression() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(120, 3))
    y = np.stack([X[:, 0], 100 * X[:, 1] + X[:, 2]], axis=1)
    for metric in ("R2", "MAE"):
        found = compare(X, y, **{**SMALL, "steps": 100}, metric=metric, workers=0)
        assert all(entry.failed == 0 for entry in found.analysis.tables[0].entries)
        assert found.analysis.tables[0].baselines["linear"].mean() > found.analysis.tables[0].baselines["constant"].mean()


def test_long_tables_are_sampled_and_that_is_said_first() -> None:
    X = np.random.default_rng(0).normal(size=(900, 3))
    found = compare(X, (X[:, 0] > 0).astype(int), **SMALL, rows=300, workers=0)
    assert found.verdict.startswith("Not all was used: 300 of 900 rows, drawn at random (--rows takes more).")
    assert sum(found.analysis.tables[0].dataset["parts"]) == 300


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["rulu"], "there is no activation 'rulu': did you mean"),
        (["relu", "ReLU"], "relu stands twice among the activations"),
        (["softmax"], "softmax is no function of one number"),
        (["swiglu"], "swiglu is no function of one number"),
        (["threshold"], r"threshold needs threshold and value: write threshold\(threshold=...\)"),
        (["elu(alpha)"], r"parameters are written as elu\(parameter=value\)"),
        (["elu(alpha=-1)"], "elu: alpha must be >= 0, got -1"),
        (["elu(beta=1)"], "elu has no parameter 'beta'"),
        ([5], "an activation is a name or made by nonlin.activation, got 5"),
        ([")("], "is no activation"),
    ],
)
def test_bad_activations(wanted: list[Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        gather(wanted)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "seeds must be a whole number of at least 1, got 0"),
        ({"splits": 50}, "at most 20 splits"),
        ({"steps": 5, "epochs": 2}, "in steps or in epochs, not in both"),
        ({"normalisation": "group"}, "normalisation must be none or batch or layer, got 'group'"),
        ({"weight_decay": -1.0}, "weight decay must be a number of at least 0"),
        ({"learning_rates": [-1]}, "learning rates must be positive"),
        ({"learning_rates": [0.1, 0.1]}, "0.1 stands twice"),
        ({"widths": [0]}, "widths must be whole numbers"),
        ({"widths": [4, 4], "depth": 3}, "2 widths and a depth of 3 contradict"),
        ({"depth": 0}, "depth must be from 1 to 200"),
        ({"gains": ["much"]}, "a gain is exact or a positive number, got 'much'"),
        ({"budget": -1}, "a budget is a time such as 60s"),
        ({"engine": "dask"}, "the engine is local or ray, not 'dask'"),
        ({"address": "auto"}, "an address is for --engine ray"),
        ({"workers": -1}, "cannot be negative"),
        ({"activations": []}, "there is no activation to compare"),
    ],
)
def test_bad_plans(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        compare("iris", **arguments)


def test_bad_data() -> None:
    with pytest.raises(DataError):
        compare("no.csv")
    with pytest.raises(PlanError, match="iris stands twice"):
        compare(["iris", "iris"])


def test_widths_and_depth() -> None:
    found = compare("iris", activations=["relu"], seeds=1, splits=1, epochs=1, widths=8, depth=5, workers=0)
    assert found.plan.widths == (8,) * 5
    assert json.loads(json.dumps(found.plan.as_dict()))["widths"] == [8] * 5


def test_a_worker_pool_needs_no_shared_queue() -> None:
    assert Local(3).workers == 3
    assert Local().workers >= 1
