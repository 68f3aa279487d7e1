"""Requests that follow from each other, such as an inversion and the edit that goes along it."""

from collections.abc import Generator

from factory.engine.request import Finished, Request

Procedure = Generator[Request, Finished, None]
"""Yields a request, is sent what was made of it, and goes on; the last request's result is the whole's."""
