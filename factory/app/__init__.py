"""Wiring: the only package that names concrete adapters. Everything below it speaks to protocols."""
