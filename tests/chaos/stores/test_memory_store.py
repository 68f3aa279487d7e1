"""The store in memory keeps the same contract as the real ones."""
# ruff: noqa: F401 (what is imported is collected)

import pytest

from tests.chaos.stores.memory_store import MemoryStore
from tests.factory.storage.test_contract import (
    test_a_listing_holds_the_keys_with_that_beginning,
    test_a_listing_is_in_key_order_whatever_the_folders,
    test_a_listing_of_a_new_store_is_empty,
    test_a_listing_shows_a_write_at_once,
    test_a_missing_object_is_reported_as_missing,
    test_a_probe_finds_conditional_writes_and_leaves_nothing,
    test_find_tells_the_size,
    test_odd_keys_are_refused,
    test_odd_prefixes_are_refused,
    test_of_eight_writers_of_one_new_key_one_wins,
    test_put_new_never_changes_what_is_there,
    test_put_replaces_an_object_that_was_damaged,
    test_putting_an_object_twice_is_harmless,
    test_what_is_put_is_what_is_got,
    test_what_is_put_new_is_what_is_got,
)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def strong_store(store):
    return store
