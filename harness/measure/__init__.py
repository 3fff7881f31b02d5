"""Instruments: memory, contention, quality."""
