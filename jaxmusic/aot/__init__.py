"""Ahead-of-time compilation of the training program for absent TPUs, and the report on it."""
