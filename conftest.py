"""Which modules pytest collects examples from: the room of a framework only where the framework is installed."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["src/nonlin/torch/*", "tests/torch/*"]
