"""Measurements (`make bench`): every figure beside a baseline that was measured in the same run."""
