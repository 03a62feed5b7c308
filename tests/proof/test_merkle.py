from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.proof import _merkle as merkle

# The leaves of the example tree that implementations of RFC 6962 share, and its root at every size.
LEAVES = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")] + [
    bytes(range(0x60, 0x70))
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Log:
    """A log in memory, beside a definition of its root taken word for word from the RFC."""

    def __init__(self, entries: list[bytes]) -> None:
        self.leaves = [merkle.leaf_hash(entry) for entry in entries]
        self.range = merkle.CompactRange()
        self.hashes: list[bytes] = []
        for leaf in self.leaves:
            self.hashes += self.range.append(leaf)

    def at(self, level: int, index: int) -> bytes:
        return self.hashes[merkle.position(level, index)]

    def root(self, size: int) -> bytes:
        def mth(leaves: list[bytes]) -> bytes:
            if not leaves:
                return hashlib.sha256().digest()
            if len(leaves) == 1:
                return leaves[0]
            k = 1
            while k * 2 < len(leaves):
                k *= 2
            return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()

        return mth(self.leaves[:size])


def log_of(size: int) -> Log:
    return Log([n.to_bytes(4) for n in range(size)])


@pytest.mark.parametrize("size", range(1, 9))
def test_the_known_tree_has_its_known_roots(size: int) -> None:
    assert Log(LEAVES[:size]).range.root().hex() == ROOTS[size - 1]


def test_the_known_tree_has_its_known_proofs() -> None:
    log = Log(LEAVES)
    assert [one.hex()[:8] for one in merkle.inclusion_proof(0, 8, log.at)] == ["96a296d2", "5f083f0a", "6b47aaf2"]
    assert [one.hex()[:8] for one in merkle.inclusion_proof(5, 8, log.at)] == ["bc1a0643", "ca854ea1", "d37ee418"]
    assert [one.hex()[:8] for one in merkle.consistency_proof(6, 8, log.at)] == ["0ebc5d34", "ca854ea1", "d37ee418"]


def test_an_empty_log_has_the_hash_of_nothing() -> None:
    assert merkle.CompactRange().root() == merkle.EMPTY_ROOT == hashlib.sha256(b"").digest()


@given(st.integers(0, 200))
def test_the_range_follows_the_definition(size: int) -> None:
    log = log_of(size)
    assert log.range.root() == log.root(size)
    assert len(log.hashes) == merkle.hashes_written(size)
    assert merkle.peaks(size, log.at) == log.range.peaks


@given(st.integers(1, 130), st.data())
def test_every_entry_is_proven_and_no_other(size: int, data: st.DataObject) -> None:
    log = log_of(200)
    index = data.draw(st.integers(0, size - 1))
    proof, root, leaf = merkle.inclusion_proof(index, size, log.at), log.root(size), log.leaves[index]
    assert merkle.verify_inclusion(leaf, index, size, proof, root)
    other = data.draw(st.integers(0, 199).filter(lambda n: n != index))
    assert not merkle.verify_inclusion(log.leaves[other], index, size, proof, root)
    assert not merkle.verify_inclusion(leaf, other, size, proof, root)
    assert not merkle.verify_inclusion(leaf, index, size, [*proof, leaf], root)
    assert not merkle.verify_inclusion(leaf, index, size, proof, leaf[::-1])
    if proof:
        assert not merkle.verify_inclusion(leaf, index, size, proof[:-1], root)
        assert not merkle.verify_inclusion(leaf, index, size, proof[::-1], root) or proof == proof[::-1]
        assert not merkle.verify_inclusion(leaf, index, size, [b"short", *proof[1:]], root)


@given(st.integers(1, 130), st.integers(0, 70), st.data())
def test_every_older_tree_is_continued_and_no_other(old: int, more: int, data: st.DataObject) -> None:
    log, new = log_of(200), old + more
    proof = merkle.consistency_proof(old, new, log.at)
    assert merkle.verify_consistency(old, new, log.root(old), log.root(new), proof)
    wrong = data.draw(st.integers(0, 200).filter(lambda n: n != old))
    assert not merkle.verify_consistency(old, new, log.root(wrong), log.root(new), proof)
    assert not merkle.verify_consistency(wrong, new, log.root(old), log.root(new), proof)
    assert not merkle.verify_consistency(old, new, log.root(old), log.root(new), [*proof, log.leaves[0]])
    if proof:
        assert not merkle.verify_consistency(old, new, log.root(old), log.root(new), proof[:-1])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (5, 4), (-1, 4)])
def test_there_is_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    log = log_of(8)
    with pytest.raises(ValueError, match="no entry"):
        merkle.inclusion_proof(index, size, log.at)
    assert not merkle.verify_inclusion(log.leaves[0], index, size, [], log.leaves[0])


@pytest.mark.parametrize(("old", "new"), [(0, 4), (5, 4), (-1, 4)])
def test_there_is_no_continuation_of_nothing_or_of_more(old: int, new: int) -> None:
    log = log_of(8)
    with pytest.raises(ValueError, match="cannot continue"):
        merkle.consistency_proof(old, new, log.at)
    assert not merkle.verify_consistency(old, new, log.root(0), log.root(4), [])


def test_a_log_of_the_same_size_needs_no_proof_and_takes_none() -> None:
    root = log_of(4).root(4)
    assert merkle.verify_consistency(4, 4, root, root, [])
    assert not merkle.verify_consistency(4, 4, root, root, [root])
    assert not merkle.verify_consistency(4, 4, root, root[::-1], [])
