"""Compiled code: how kernels are compiled and cached, hashing of ids, partitions of keys."""
