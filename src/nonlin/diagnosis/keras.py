"""Keras' models on any backend: a model without torch in it is looked at in a process where Keras computes with torch.

A model of Keras is the same on each of its backends, so nothing is judged here: it is saved, loaded there, and the report is
brought back.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nonlin import processes
from nonlin.diagnosis.data import BLOCK, DiagnosisError
from nonlin.diagnosis.report import Report


def diagnose_elsewhere(model: Any, data: Any, target: Any, loss: Any, mask: Any, samples: int) -> Report:
    """Diagnose a model of Keras, whatever its backend is, in a process of its own.

    Raises
    ------
    DiagnosisError
        If the model cannot be saved and loaded there, or as :func:`nonlin.diagnose`.
    """
    import keras

    is_theirs = isinstance(loss, keras.losses.Loss)
    request = {
        "data": _plain(data, samples),
        "target": None if target is None else _plain(target, samples),
        "loss": keras.losses.serialize(loss) if is_theirs else loss,
        "mask": None if mask is None else _plain(mask, samples),
        "samples": samples,
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.save(Path(folder) / "model.keras")
            (Path(folder) / "request").write_bytes(pickle.dumps(request))
        except (ValueError, TypeError, NotImplementedError, AttributeError, pickle.PicklingError) as error:
            raise DiagnosisError(f"the model or the loss cannot be saved: {str(error).partition(chr(10))[0]}") from error
        environment = processes.environment(KERAS_BACKEND="torch", PYTHONWARNINGS="ignore")
        command = processes.command("nonlin.diagnosis.keras", folder)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        answer = Path(folder) / "report"
        if not answer.exists():
            last = done.stderr.strip().rpartition("\n")[2]
            raise DiagnosisError(f"the model cannot be looked at with torch: {last}")
        found = pickle.loads(answer.read_bytes())
    if isinstance(found, DiagnosisError):
        raise found
    report: Report = found
    return report


def _plain(data: Any, samples: int) -> Any:
    """Return data as arrays, or as a list of batches of them."""
    import keras

    if isinstance(data, Mapping):
        return {name: _plain(value, samples) for name, value in data.items()}
    if isinstance(data, (np.ndarray, list)) or hasattr(data, "to_numpy"):
        return data[: samples + BLOCK]
    if isinstance(data, tuple):
        return tuple(_plain(value, samples) for value in data)
    if keras.ops.is_tensor(data):
        return keras.ops.convert_to_numpy(data)[: samples + BLOCK]
    return [_plain(batch, samples) for batch in islice(data, samples)]


def _answer(folder: Path) -> None:
    import keras

    from nonlin.diagnosis.diagnosing import diagnose

    request = pickle.loads((folder / "request").read_bytes())
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    loss = request.pop("loss")
    found: Report | DiagnosisError
    try:
        found = diagnose(model, loss=keras.losses.deserialize(loss) if isinstance(loss, dict) else loss, **request)
    except DiagnosisError as error:
        found = DiagnosisError(*error.args)
    (folder / "report").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    import nonlin.keras  # noqa: F401 - saved models may have its layers

    _answer(Path(sys.argv[1]))
