"""tensors.bin is what make_tensors.py makes."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import make_tensors


def test_tensors_bin_is_current():
    with open(os.path.join(make_tensors.HERE, "tensors.bin"), "rb") as f:
        assert f.read() == make_tensors.make()
