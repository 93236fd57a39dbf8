"""Tests of txetcd."""
