"""Injecting faults into trainings: trials, their comparison and their report."""
