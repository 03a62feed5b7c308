"""Tests of the repository house."""
