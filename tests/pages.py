"""What the tests of the pages share: node, and the scripts that the site is made of."""

import json
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import pytest

import nonlin as nl

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node, which runs the page's scripts, is not installed")


def static(name: str) -> str:
    return (files("nonlin.explanation") / "static" / name).read_text(encoding="utf-8")


def run(script: str, timeout: float = 120) -> Any:
    """What a script gives to ``answer``, from node; numbers that JSON lacks come as they are."""
    head = 'const answer = (value) => process.stdout.write(JSON.stringify(value, (_, v) => typeof v === "number" && '
    head += '(!Number.isFinite(v) || Object.is(v, -0)) ? {special: Object.is(v, -0) ? "-0" : String(v)} : v));\n'
    done = subprocess.run(["node", "-"], input=head + script, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout, object_hook=lambda d: float(d["special"].lower()) if "special" in d else d)


def literal(x: float) -> str:
    return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(str(x), repr(x))


def tuesday(x: Any, beta: Any = nl.Parameter(1.0, ge=0)) -> Any:
    """Mish with a slope."""
    return x * nl.tanh(nl.softplus(beta * x))
