"""Which room a call goes to, with frameworks made for the test and with those that are installed."""

import importlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import pytest

import nonlin as nl
from nonlin import frameworks
from nonlin.frameworks import FRAMEWORKS, Framework, Room

#: Every way into a room: an elementwise activation, its derivatives, a pair of two arrays and of one, rows and their products.
CALLS: dict[str, Callable[[Any], Any]] = {
    "value": nl.gelu,
    "derivative": nl.gelu.derivative,
    "both": nl.gelu.value_and_derivative,
    "parameter": lambda a: nl.elu(np.ones(2), a),
    "pair": lambda a: nl.swiglu(np.ones(2), a),
    "halves": nl.swiglu,
    "rows": nl.softmax,
    "groups": lambda a: nl.maxout(a, 1),
    "mask": lambda a: nl.softmax(np.ones(2), where=a),
    "jvp": lambda a: nl.softmax.jvp(a, np.ones(2)),
    "vjp": lambda a: nl.softmax.vjp(np.ones(2), a),
}


def _module(monkeypatch: pytest.MonkeyPatch, name: str, **names: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, origin="made by a test")
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def array_class(module: str, name: str = "Array", *bases: type, **attributes: Any) -> type:
    """Make a class of arrays that NumPy could read."""
    own = {"__module__": module, "shape": (2,), "ndim": 1, "__array__": lambda self, *_, **__: np.ones(2)}
    return type(name, bases, own | attributes)


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frameworks, "_room_of", dict(frameworks._room_of))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A framework with a room, which says what it was asked."""
    _module(monkeypatch, "nonlin.fakeflow")
    _module(
        monkeypatch,
        "nonlin.fakeflow.dispatch",
        evaluate=lambda entry, wrt, order, operands, keywords: (entry.name, wrt, order),
        evaluate_along_axis=lambda entry, given: (entry.name, given["axis"]),
        product_along_axis=lambda entry, given, which: (entry.name, which),
        split=lambda entry, x, axis, gate: (x, x),
    )
    own = Framework("fakeflow", ("Array", "tracing.Tracer"), packages=("fakelib",), method="__fake_array__")
    monkeypatch.setattr(frameworks, "FRAMEWORKS", (Framework("fakehost", ("Array",), hosts=("fakeflow",)), own, *FRAMEWORKS))
    return _module(monkeypatch, "fakeflow", Array=array_class("fakeflow.core"))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_array_of_a_framework_goes_to_its_room_wherever_it_stands(call: Callable[[Any], Any], fake: Any) -> None:
    heir = array_class("mine", "Heir", fake.Array)
    like = array_class("mine", "Like", __fake_array__=lambda self: self)
    for kind in (fake.Array, heir, like):
        assert isinstance(call(kind()), tuple)


def test_a_room_is_told_what_was_called(fake: Any) -> None:
    x = fake.Array()
    assert nl.elu.derivative(x, wrt="alpha", order=2) == ("elu", "alpha", 2)
    assert nl.gelu.value_and_derivative(x) == (("gelu", "x", 0), ("gelu", "x", 1))
    assert nl.swiglu.derivative(x, wrt="value") == ("swiglu", "value", 1)
    assert nl.softmax(x) == ("softmax", 0)
    assert nl.softmax.vjp(x, x) == ("softmax", "dy")
    number = array_class("mine", "Number", fake.Array, shape=(), ndim=0)()
    assert nl.softmax(np.ones(2), temperature=number) == ("softmax", 0)


def test_a_class_of_a_submodule_is_found_once_that_is_loaded(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer = array_class("fakelib.tracing", "Tracer")
    with pytest.raises(TypeError, match=r"^gelu: of fakeflow it takes fakeflow\.Array and .*, got its Tracer, which is none"):
        nl.gelu(tracer())
    _module(monkeypatch, "fakeflow.tracing", Tracer=tracer)
    assert nl.gelu(tracer()) == ("gelu", "x", 0)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_is_no_dense_array_of_a_framework_with_a_room_is_refused(call: Callable[[Any], Any], fake: Any) -> None:
    with pytest.raises(TypeError, match=r"of fakeflow it takes fakeflow\.Array and fakeflow\.tracing\.Tracer, got its Ragged"):
        call(array_class("fakelib.ragged", "Ragged")())


@pytest.mark.parametrize(
    "package",
    ["mlx.core", "cupy", "tinygrad.tensor", "paddle", "ndonnx._array", "mxnet.ndarray", "mindspore.common", "tf_keras.src"],
)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_arrays_of_a_framework_without_a_room_are_refused(call: Callable[[Any], Any], package: str) -> None:
    # NumPy could read them: the result would be no longer on their device, nor differentiable.
    array = array_class(package, __array_ufunc__=lambda *_, **__: 0)()
    framework = package.partition(".")[0]
    for value in (array, array_class("mine", "Heir", type(array))()):
        with pytest.raises(
            TypeError, match=rf"^\w+: nonlin has no room for {framework} and got its .*: it takes arrays of .*torch"
        ):
            call(value)


@pytest.mark.parametrize("protocol", ["__dlpack__", "__array_namespace__", "__cuda_array_interface__"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_arrays_of_a_library_nobody_has_heard_of_are_refused(call: Callable[[Any], Any], protocol: str) -> None:
    kind = type("Tensor", (), {"__module__": "unheard.of", "shape": (2,), "ndim": 1, protocol: lambda self, *_, **__: 0})
    with pytest.raises(TypeError, match="has no room for unheard and got its Tensor: it takes arrays of"):
        call(kind())


@pytest.mark.parametrize("protocol", ["__array__", "__array_interface__", "__array_ufunc__"])
def test_what_follows_numpys_protocols_goes_numpys_way(protocol: str) -> None:
    array = np.array([-1.0, 2.0])
    offers = {
        "__array__": lambda self, *_, **__: array,
        "__array_interface__": array.__array_interface__,
        "__array_ufunc__": lambda self, ufunc, method, *inputs, **_: getattr(ufunc, method)(array, *inputs[1:]),
    }
    for more in ((), ("__dlpack__", "__array_namespace__")):  # as NumPy's own arrays, PyArrow's and others have, too
        kind = type("Measured", (), {"__module__": "unheard.of", protocol: offers[protocol], **dict.fromkeys(more)})
        np.testing.assert_array_equal(nl.relu(kind()), [0, 2])


def test_two_frameworks_at_once_are_refused_and_a_host_takes_its_guests(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other = array_class("fakehost")
    _module(monkeypatch, "nonlin.fakehost")
    _module(monkeypatch, "nonlin.fakehost.dispatch", evaluate=lambda *_: "host's", evaluate_along_axis=lambda *_: "host's")
    _module(monkeypatch, "fakehost", Array=other)
    assert nl.elu(other(), fake.Array()) == nl.elu(fake.Array(), other()) == "host's"
    assert nl.softmax(fake.Array(), where=other()) == "host's"
    torch = pytest.importorskip("torch")
    message = "its operands are arrays of fakeflow and of torch; give it those of one framework"
    for call, x in ((nl.elu, fake.Array()), (nl.swiglu, fake.Array())):
        with pytest.raises(TypeError, match=f"^{call.name}: {message}"):
            call(x, torch.ones(2))
    with pytest.raises(TypeError, match=f"^softmax: {message}"):
        nl.softmax(fake.Array(), temperature=torch.ones(()))


# --- those that are installed ------------------------------------------------------------------------------------------

ARRAYS: dict[str, Callable[[Any], list[Any]]] = {
    "torch": lambda torch: [torch.ones(2), torch.nn.Parameter(torch.ones(2))],
    "jax": lambda jax: [jax.numpy.ones(2)],
    "tensorflow": lambda tf: [tf.ones(2), tf.Variable([1.0, 1.0])],
    "keras": lambda keras: [keras.KerasTensor((2,)), keras.Variable(np.ones(2))],
}
NOT_DENSE: dict[str, Callable[[Any], list[Any]]] = {
    "torch": lambda torch: [torch.nn.utils.rnn.pack_sequence([torch.ones(2)])],
    "jax": lambda jax: [jax.ShapeDtypeStruct((2,), np.float32)],
    "tensorflow": lambda tf: [tf.ragged.constant([[1.0], [1.0, 2.0]]), tf.sparse.from_dense([1.0, 0.0])],
    "keras": lambda keras: [keras.layers.Dense(2)],
}


def _installed(framework: Framework) -> Any:
    if framework.name != "torch" and framework.name not in sys.modules and not framework.is_open():
        pytest.skip(f"nonlin has no room for {framework.name} yet, which takes seconds to import")
    return pytest.importorskip(framework.name)


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.name)
def test_every_class_of_arrays_is_there_and_goes_to_its_room(framework: Framework) -> None:
    package = _installed(framework)
    missing = [path for path in framework.arrays if importlib.util.find_spec(framework.name) and framework._class(path) is None]
    assert [path for path in missing if "." not in path] == []
    for array in ARRAYS[framework.name](package):
        assert frameworks.room("gelu", (1.0, array)) is sys.modules[framework.room]


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.name)
def test_what_is_no_dense_array_is_refused(framework: Framework) -> None:
    for value in NOT_DENSE[framework.name](_installed(framework)):
        with pytest.raises(TypeError, match=f"gelu: of {framework.name} it takes .*, got its {type(value).__name__}"):
            nl.gelu(value)


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.name)
def test_a_room_keeps_the_protocol(framework: Framework) -> None:
    _installed(framework)
    dispatch = importlib.import_module(framework.room)
    for name, wanted in vars(Room).items():
        if inspect.isfunction(wanted) and not name.startswith("_"):
            takes = len(inspect.signature(wanted).parameters) - 1  # self
            assert len(inspect.signature(getattr(dispatch, name)).parameters) == takes, name
