"""Measurements (`make bench`): every figure has a baseline that is measured in the same run."""
