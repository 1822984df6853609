"""The examples in the docstrings run, and what is public has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import facealign

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(facealign.__path__, "facealign.")
    if not module.name.endswith(("__main__", "_pb2"))
)
PUBLIC = [name for name in facealign.__all__ if not name.startswith("__")]


def examples_of(module):
    return [test for test in doctest.DocTestFinder().find(importlib.import_module(module)) if test.examples]


@pytest.mark.parametrize("module", ["facealign", *MODULES])
def test_the_examples_run(module):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples_of(module):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_a_docstring_with_an_example(name):
    thing = getattr(facealign, name)
    assert inspect.getdoc(thing)
    examples = [test.name for test in examples_of(thing.__module__)]
    assert any(name in test.split(".") for test in examples), f"{name}: no example"


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Aligner'"):
        _ = facealign.Aligner
