"""Tests of the pages that commands write: pure, and in a real browser."""
