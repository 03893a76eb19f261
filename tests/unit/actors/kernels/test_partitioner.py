import zlib

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given, settings
from hypothesis import strategies as st

from freshrank.actors.kernels.partitioner import (
    Partitioner,
    assign,
    crc32,
    murmur2,
    partition_of,
    partitions_of,
    partitions_of_texts,
)

# From the tests of Kafka's own Java client (UtilsTest.testMurmur2), as signed numbers.
JAVA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


# From librdkafka's own tests of its partitioners (0048-partitioner.c).
LIBRDKAFKA_VECTORS = {
    b"": 0x0,
    b"23456": 0xB1B451D7,
    b"this is another string with more length to it perhaps": 0xB0150DF7,
    b"hejsan": 0xD077037E,
}


@pytest.mark.parametrize(("key", "hashed"), LIBRDKAFKA_VECTORS.items())
def test_crc32_gives_the_hashes_of_librdkafka(key: bytes, hashed: int) -> None:
    assert crc32(key) == hashed
    assert partition_of(key, 17, Partitioner.CRC32) == hashed % 17


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 64))
def test_many_keys_at_once_get_the_partitions_of_librdkafka(
    keys: list[bytes], partitions: int
) -> None:
    theirs = [zlib.crc32(key) % partitions for key in keys]
    assert partitions_of(keys, partitions, Partitioner.CRC32).tolist() == theirs


@settings(deadline=None)
@given(
    st.lists(st.text(max_size=20), max_size=20), st.integers(1, 64), st.sampled_from(Partitioner)
)
def test_texts_get_the_partitions_of_their_bytes(
    texts: list[str], partitions: int, partitioner: Partitioner
) -> None:
    keys = [text.encode() for text in texts]
    expected = partitions_of(keys, partitions, partitioner).tolist()
    assert partitions_of_texts(texts, partitions, partitioner).tolist() == expected


@pytest.mark.parametrize(("key", "signed"), JAVA_VECTORS.items())
def test_murmur2_gives_the_hashes_of_the_java_client(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 64))
def test_many_keys_at_once_get_the_partitions_of_the_python_client(
    keys: list[bytes], partitions: int
) -> None:
    all_partitions = list(range(partitions))
    theirs = [DefaultPartitioner()(key, all_partitions, all_partitions) for key in keys]
    assert [partition_of(key, partitions) for key in keys] == theirs
    assert partitions_of(keys, partitions).tolist() == theirs


@given(st.integers(0, 100), st.integers(1, 20))
def test_every_partition_has_one_owner_and_loads_differ_by_one_at_most(
    partitions: int, shards: int
) -> None:
    owned = assign(partitions, shards)
    assert len(owned) == shards
    assert sorted(one for shard in owned for one in shard) == list(range(partitions))
    sizes = [len(shard) for shard in owned]
    assert max(sizes) - min(sizes) <= 1
