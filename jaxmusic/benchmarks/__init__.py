"""Benchmarks of training, scaling, reading, preparing and generating."""
