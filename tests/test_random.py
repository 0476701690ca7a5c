"""The random numbers: the published cipher, equal on every platform bit for bit, and a function of nothing else."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from conftest import Platform, find_library

from chainrule._backend import reference_backend as backend
from chainrule._random import (
    Key,
    drop_threshold,
    host_generator,
    keep_mask,
    member_key,
    single_key,
    step_key,
    threefry,
    threefry_host,
    uniform,
)
from chainrule.layers import Dense, Dropout
from chainrule.network import Sequential, mlp

HOST = backend("numpy", dtype="float64")
# Random123, kat_vectors, threefry2x32 20: counter, key, answer.
KNOWN = {
    "zeros": ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    "ones": ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    "pi": ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
}
ROWS, COLUMNS, DROP = 5, 7, 0.3


def signed(words: Any) -> np.ndarray:
    return np.asarray(words, dtype=np.uint32).astype(np.int32)


def key_of(seed: int, member: int = 0, step: int = 1, layer: int = 0, first_row: int = 0) -> Key:
    """The host's key of one layer in one step."""
    member_words = np.asarray(member_key(seed, member), dtype=np.int32)
    return step_key(member_words, np.asarray([step], dtype=np.int32)).fold(layer)._replace(first_row=first_row)


def mask(key: Key, rows: int = ROWS, columns: int = COLUMNS, drop: float = DROP) -> np.ndarray:
    return keep_mask(HOST, key, rows, columns, drop)


@pytest.mark.parametrize("name", KNOWN)
def test_the_cipher_gives_the_published_answers_on_the_host(name: str) -> None:
    counter, key, answer = KNOWN[name]
    assert threefry_host(key, counter) == answer


def test_the_cipher_gives_the_published_answers_on_every_target(platform: Platform) -> None:
    counters, keys, answers = (signed([known[i] for known in KNOWN.values()]) for i in range(3))

    def cipher(key: Any, counter: Any) -> Any:
        return threefry((key[:, 0], key[:, 1]), counter[:, 0], counter[:, 1])

    for got, want in zip(platform.run(cipher, platform.array(keys), platform.array(counters)), answers.T, strict=True):
        platform.check(got, want, dtype="int32")


def test_the_cipher_is_jaxs_own() -> None:
    jax_random = find_library("jax", "jax.extend.random")
    key, counts = signed([0xDEADBEEF, 0x00C0FFEE]), np.arange(2000, dtype=np.uint32)
    theirs = np.asarray(jax_random.threefry_2x32(key.view(np.uint32), counts)).astype(np.int32)
    # JAX pairs the first half of the counters with the second.
    ours = threefry((key[:1], key[1:]), *signed(counts).reshape(2, -1))
    np.testing.assert_array_equal(np.concatenate(ours), theirs)


def test_the_host_and_the_array_cipher_agree() -> None:
    words = np.random.default_rng(0).integers(0, 2**32, (200, 4), dtype=np.uint32)
    ours = threefry(tuple(signed(words[:, :2]).T), *signed(words[:, 2:]).T)
    host = [threefry_host(tuple(map(int, w[:2])), tuple(map(int, w[2:]))) for w in words]
    np.testing.assert_array_equal(np.stack(ours, axis=-1), signed(host))


@functools.cache
def drawn(platform: Platform) -> tuple[Any, ...]:
    """(mask, uniforms, the same of a stack of two) from keys that a compiled program is given, not frozen with."""

    def draw(words: Any, step: Any) -> Any:
        one = step_key(words[0, ...], step).fold(2)
        two = step_key(words, step).fold(2)
        return [
            draw_from(platform.backend, key)
            for key in (one, two)
            for draw_from in (
                lambda b, key: keep_mask(b, key, ROWS, COLUMNS, DROP),
                lambda b, key: uniform(b, key, ROWS, COLUMNS),
            )
        ]

    words = np.asarray([member_key(11, 0), member_key(11, 1)], dtype=np.int32)
    return tuple(platform.run(draw, platform.array(words), platform.array(np.asarray([3], dtype=np.int32))))


def test_masks_and_uniforms_are_equal_bit_for_bit_on_every_target(platform: Platform) -> None:
    keys = [key_of(11, member, step=3, layer=2) for member in (0, 1)]
    masks = np.stack([mask(key) for key in keys])
    uniforms = np.stack([uniform(HOST, key, ROWS, COLUMNS) for key in keys])
    one_mask, one_uniform, two_masks, two_uniforms = drawn(platform)
    platform.check(one_mask, masks[0], dtype="bool")
    platform.check(two_masks, masks, dtype="bool")
    platform.check(one_uniform, uniforms[0])  # 24 bits are exact in float32 too
    platform.check(two_uniforms, uniforms)


def test_one_program_serves_every_key() -> None:
    """A key that compiling froze would give the first mask again."""
    jax = find_library("jax")
    b = backend("jax")
    draw = jax.jit(lambda k0, k1, first_row: keep_mask(b, Key(k0, k1, first_row), ROWS, COLUMNS, DROP))
    for key in (key_of(1), key_of(2), key_of(1, first_row=3)):
        np.testing.assert_array_equal(np.asarray(draw(*map(b.xp.asarray, (*key.words, key.first_row)))), mask(key))
    assert draw._cache_size() == 1


@pytest.mark.parametrize("draw", [mask, lambda key, rows=ROWS, columns=COLUMNS: uniform(HOST, key, rows, columns)])
def test_a_short_batch_is_the_head_of_the_long_one(draw: Any) -> None:
    np.testing.assert_array_equal(draw(key_of(5), rows=3), draw(key_of(5), rows=100)[:3])


@pytest.mark.parametrize("draw", [mask, lambda key, rows=ROWS, columns=COLUMNS: uniform(HOST, key, rows, columns)])
def test_a_shard_has_the_rows_of_the_whole(draw: Any) -> None:
    np.testing.assert_array_equal(draw(key_of(5, first_row=4), rows=3), draw(key_of(5), rows=9)[4:7])


def test_a_member_of_a_stack_has_the_mask_it_has_alone() -> None:
    words = np.asarray([member_key(5, member) for member in range(3)], dtype=np.int32)
    stack = step_key(words, np.asarray([9], dtype=np.int32)).fold(1)
    for member, rows in enumerate(mask(stack)):
        np.testing.assert_array_equal(rows, mask(key_of(5, member, step=9, layer=1)))


@pytest.mark.parametrize("other", [{"seed": 6}, {"member": 1}, {"step": 2}, {"layer": 1}], ids=str)
def test_seeds_members_steps_and_layers_differ(other: dict[str, int]) -> None:
    """Two fair masks agree in half of their places: 5 sigma of 40,000."""
    rows, columns = 200, 200
    a, b = (mask(key_of(**{"seed": 5, **changes}), rows, columns, 0.5) for changes in ({}, other))
    assert abs(np.mean(a == b) - 0.5) < 5 * 0.5 / np.sqrt(rows * columns)


def test_each_layer_of_a_network_has_a_mask_of_its_own() -> None:
    network, x = Sequential(Dropout(0.5), Dropout(0.5), Dense(COLUMNS, 1)), np.ones((ROWS, COLUMNS))
    params = network.layout.split(HOST, network.initial_theta(0))
    _, masks, _ = network.forward(HOST, params, np.zeros(0), x, key_of(5))
    for layer in (0, 1):
        np.testing.assert_array_equal(masks[layer] > 0, mask(key_of(5).fold(layer), drop=0.5))
    assert (masks[0] != masks[1]).any()


def test_seeds_beyond_32_bits_differ() -> None:
    assert len({member_key(seed, 0) for seed in (1, 2**32 + 1, 2**33 + 1)}) == 3
    assert len({member_key(1, member) for member in range(1000)}) == 1000


@pytest.mark.parametrize("drop", [0.1, 0.5, 0.9])
def test_a_mask_drops_at_its_rate(drop: float) -> None:
    """Each 16-bit piece by itself: the four quarters of the columns come from four different pieces."""
    kept = mask(key_of(3), 500, 400, drop)
    for piece in np.split(kept, 4, axis=1):
        assert abs(piece.mean() - (1 - drop)) < 5 * np.sqrt(drop * (1 - drop) / piece.size)


def test_a_rate_of_zero_keeps_everything_and_a_rate_is_rounded_to_a_65536th() -> None:
    assert mask(key_of(3), drop=0.0).all()
    assert [drop_threshold(rate) for rate in (0.0, 2.0**-16, 0.25, 0.3, 0.5)] == [0, 1, 16384, 19661, 32768]


def test_uniforms_are_uniform() -> None:
    u = uniform(HOST, key_of(3), 500, 400)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / u.size)
    assert abs(u.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / u.size)
    np.testing.assert_array_equal(u * 2**24, np.floor(u * 2**24))
    neighbours = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in ((u[1:], u[:-1]), (u[:, 1:], u[:, :-1]))]
    assert np.abs(neighbours).max() < 5 / np.sqrt(u.size)


def test_a_host_generator_is_keyed_by_the_seed_and_the_path() -> None:
    paths: list[tuple[int | str, ...]] = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", 2), (0, "a", "b")]
    assert len({host_generator(*path).random() for path in paths}) == len(paths)
    assert host_generator(0, "a").random() == host_generator(0, "a").random()


def test_no_path_is_another_one_written_longer() -> None:
    """A trailing 0, or a seed of more than 32 bits whose upper word reads like the path's first."""
    assert host_generator(5, "a").random() != host_generator(5, "a", 0).random()
    assert host_generator(5 + 7 * 2**32, "a").random() != host_generator(5, 7, "a").random()


# NumPy does not promise a distribution's stream across its versions (NEP 19): these numbers tell when it changes, and
# with it what a seed means.


GOLDEN_WEIGHTS = {  # (seed, member)
    (0, 0): [0.2612781152947744, -1.2275850637087, -0.5940153031069428, -0.0011248126800974432],
    (0, 1): [-0.5058254111008693, 0.20435603818500847, 0.1364150940333528, 0.17344707579888935],
    (1729, 0): [-1.059571542682657, -0.12117161173313587, -0.6817134572702437, 0.36496883950739134],
}
GOLDEN_ORDERS = {  # (seed, "order", epoch), as fit draws them
    (0, "order", 0): [60, 345, 861, 908],
    (0, "order", 1): [694, 347, 439, 371],
    (1729, "order", 0): [811, 803, 675, 2],
}
GOLDEN_MEMBERS = {  # (seed, member)
    (0, 0): (1797259609, -1715843330),
    (0, 1): (1351547692, -1059176654),
    (1729, 0): (-1999181328, 295003304),
}


def test_golden_weights() -> None:
    net = mlp([4, 3, 2], activation="tanh", weight_init="he_normal", bias_init="normal")
    drawn = [net.initial_theta(seed, member)[:4] for seed, member in GOLDEN_WEIGHTS]
    np.testing.assert_allclose(drawn, list(GOLDEN_WEIGHTS.values()), rtol=1e-15)


def test_golden_orders() -> None:
    assert {path: host_generator(*path).permutation(1000)[:4].tolist() for path in GOLDEN_ORDERS} == GOLDEN_ORDERS


def test_golden_members() -> None:
    assert {path: member_key(*path) for path in GOLDEN_MEMBERS} == GOLDEN_MEMBERS


@pytest.mark.parametrize("seed", [0, 1, 2**40 + 3])
def test_a_single_pass_has_the_key_words_of_a_stacks_first_member(seed: int) -> None:
    key = single_key(backend("numpy"), seed)
    assert (key.k0.shape, key.k1.shape) == ((1, 1), (1, 1))
    assert (int(key.k0[0, 0]), int(key.k1[0, 0])) == member_key(seed, 0)


def test_folds_of_folds_are_all_different_keys() -> None:
    key = key_of(5)._replace(folded=0)
    assert key.fold(2).words[0] == key.k0 ^ 3  # as layer 2 of a network has always drawn
    folded = {int(key.fold(layer).fold(draw).words[0][0, 0]) for layer in range(40) for draw in range(40)}
    folded |= {int(key.fold(layer).words[0][0, 0]) for layer in range(2000)}
    assert len(folded) == 40 * 40 + 2000
