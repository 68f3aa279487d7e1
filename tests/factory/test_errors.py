import pickle

import pytest

from cluster import access, local, submit
from factory import errors
from factory.ledger.seal import Incomplete
from factory.on_ray.rows import ClusterFailed


def family(root):
    return [root, *(kind for child in root.__subclasses__() for kind in family(child))]


def test_every_error_was_imported_here():
    assert {Incomplete, ClusterFailed} <= set(family(errors.EditmillError))
    assert all(module.__doc__ for module in (access, local, submit))


@pytest.mark.parametrize("kind", family(errors.EditmillError), ids=lambda k: k.__name__)
def test_error_crosses_a_process_border_as_itself(kind):
    back = pickle.loads(pickle.dumps(kind("here: rule, got that")))
    assert type(back) is kind
    assert str(back) == "here: rule, got that"
    assert back.exit_code in (2, 3, 4, 5)
    assert kind.__doc__


def test_first_line_is_one_line():
    assert errors.first_line(ValueError("a\n  b" + "c" * 500), 10) == "ValueError: a b" + "c" * 7
    assert errors.first_line(KeyError()) == "KeyError"
