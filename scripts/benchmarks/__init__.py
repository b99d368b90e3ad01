"""Benchmarks of the real mount: a real server over loopback, a real kernel, and peers on the same work in the same run.

Whatever is started ends with the context that started it. Peers take turns, repetition by repetition, so that what else
the machine does falls on all of them alike; what is shown are medians, and ratios of medians.
"""
