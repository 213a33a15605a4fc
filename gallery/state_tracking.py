"""Word problems of finite groups: what a sequence model must remember to know in which state the words left it.

A sequence of tokens, each of them a group element, is multiplied up; the label at every place is the product so far. No
label can be read off a window of the input, and no shorter memory than the state suffices. Each task is a
`WordProblem`; those of `STATE_TRACKING` need no arguments.

Examples
--------
>>> from resolvent.gallery import state_tracking
>>> parity = state_tracking.cyclic(2)
>>> tokens, labels = parity.sample(1, 8, seed=0)
>>> tokens
array([[1, 1, 1, 0, 0, 0, 0, 0]])
>>> labels
array([[1, 0, 1, 1, 1, 1, 1, 1]])
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..naming import choice
from .checks import integer

__all__ = ["STATE_TRACKING", "WordProblem", "alternating", "by_name", "cyclic", "symmetric"]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WordProblem:
    """The running products of random words over a group of permutations.

    Attributes
    ----------
    name : str
    elements : (order, points) array
        Element i maps point j to ``elements[i, j]``; the identity is the first.
    alphabet : (tokens,) array
        The element that each token stands for.
    """

    name: str
    elements: Indices = field(repr=False)
    alphabet: Indices = field(repr=False)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.order} states, {len(self.alphabet)} tokens>"

    @property
    def order(self) -> int:
        """How many states there are, and labels."""
        return len(self.elements)

    @cached_property
    def table(self) -> Indices:
        """(order, order): element ``table[g, h]`` is g h, which maps j to g(h(j))."""
        products = self.elements[:, self.elements]  # (g, h, j)
        return _places(self.elements, products)

    @property
    def chance(self) -> float:
        """The accuracy of a guess, and of all that is not told which words were read."""
        return 1 / self.order

    @cached_property
    def commutative_ceiling(self) -> float:
        """The accuracy of who counts tokens but not their order: one over the order of the commutator subgroup.

        That is 1 if the group is Abelian, 1/3 for S3, where the sign can be known, and chance for A5.
        """
        inverse = np.argsort(self.elements, axis=1)
        inverse_of = _places(self.elements, inverse)
        g, h = np.ogrid[: self.order, : self.order]
        commutators = self.table[self.table[g, h], self.table[inverse_of[g], inverse_of[h]]]
        return 1 / len(_generated(self.table, np.unique(commutators)))

    def sample(
        self, count: int, length: int, *, seed: int | np.random.Generator, distinct: bool = False
    ) -> tuple[Indices, Indices]:
        """Words of independent, uniform tokens, and the products of their beginnings.

        Parameters
        ----------
        count, length : int
            How many words, of how many tokens.
        seed : int or Generator
        distinct : bool
            No word twice; there are ``tokens**length`` of them at most, and never more are returned.

        Returns
        -------
        tokens, labels : (count, length) arrays
            ``labels[:, t]`` is the index of the element ``g_0 g_1 ... g_t``, the newest token on the right.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described.

        Examples
        --------
        >>> symmetric(3).sample(2, 4, seed=1)[1]
        array([[2, 1, 2, 4],
               [0, 0, 4, 2]])
        >>> cyclic(2).sample(100, 3, seed=0, distinct=True)[0].shape
        (8, 3)
        """
        count, length = integer("count", count), integer("length", length)
        random = np.random.default_rng(seed)
        letters = len(self.alphabet)
        if distinct:
            tokens = _distinct(random, letters, count, length)
        else:
            tokens = random.integers(letters, size=(count, length))
        labels = np.empty_like(tokens)
        state = np.zeros(len(tokens), dtype=tokens.dtype)
        for t in range(length):
            state = self.table[state, self.alphabet[tokens[:, t]]]
            labels[:, t] = state
        return tokens, labels


def cyclic(m: int, tokens: Sequence[int] | None = None) -> WordProblem:
    """Counting modulo m: a label is the sum of the tokens so far. ``cyclic(2)`` is parity.

    Parameters
    ----------
    m : int
        At least 2.
    tokens : sequence of ints, optional
        What the tokens add, from -m up; each number from 0 to m - 1 by default. (0, 1, -1) is a walk round a circle.

    Returns
    -------
    WordProblem

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> cyclic(5, tokens=(0, 1, -1))
    <Z5: 5 states, 3 tokens>
    """
    m = integer("m", m, least=2)
    added = np.arange(m) if tokens is None else np.array([integer("tokens", token, least=-m) for token in tokens]) % m
    shifts = np.arange(m)
    return WordProblem(f"Z{m}", (shifts[:, None] + shifts) % m, added)


def symmetric(n: int, tokens: Sequence[Sequence[int]] | None = None) -> WordProblem:
    """All permutations of n points, in lexicographic order.

    Parameters
    ----------
    n : int
        From 2 to 6.
    tokens : sequence of permutations, optional
        What the tokens stand for, each as the images of 0, ..., n - 1; all elements by default.

    Returns
    -------
    WordProblem

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> symmetric(3), round(symmetric(3).commutative_ceiling, 3)
    (<S3: 6 states, 6 tokens>, 0.333)
    """
    n = _points(n, least=2)
    return _task(f"S{n}", np.array(list(itertools.permutations(range(n)))), tokens)


def alternating(n: int, tokens: Sequence[Sequence[int]] | None = None) -> WordProblem:
    """The even permutations of n points, in lexicographic order.

    Parameters
    ----------
    n : int
        From 3 to 6.
    tokens : sequence of permutations, optional
        What the tokens stand for, each as the images of 0, ..., n - 1; all elements by default.

    Returns
    -------
    WordProblem

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> task = alternating(5, tokens=[(0, 1, 2, 3, 4), (1, 2, 0, 3, 4), (1, 2, 3, 4, 0)])
    >>> task, round(task.chance, 4), task.commutative_ceiling == task.chance
    (<A5: 60 states, 3 tokens>, 0.0167, True)
    """
    n = _points(n, least=3)
    elements = np.array(list(itertools.permutations(range(n))))
    i, j = np.triu_indices(n, 1)
    inversions = (elements[:, i] > elements[:, j]).sum(axis=1)
    return _task(f"A{n}", elements[inversions % 2 == 0], tokens)


def _points(n: int, least: int) -> int:
    n = integer("n", n, least=least)
    if n > 6:
        raise InputError(f"n is {n}; it must be at most 6, whose group has a table of 720 by 720 products")
    return n


def _task(name: str, elements: Indices, tokens: Sequence[Sequence[int]] | None) -> WordProblem:
    """With the tokens as places among the elements."""
    if tokens is None:
        return WordProblem(name, elements, np.arange(len(elements)))
    places = {tuple(element): place for place, element in enumerate(elements.tolist())}
    for token in tokens:
        if tuple(token) not in places:
            raise InputError(f"tokens has {tuple(token)}, which is no element of {name}")
    return WordProblem(name, elements, np.array([places[tuple(token)] for token in tokens]))


def _places(elements: Indices, permutations: Indices) -> Indices:
    """The places of permutations (..., points) among the elements."""
    weights = elements.shape[1] ** np.arange(elements.shape[1])
    codes = elements @ weights
    order = np.argsort(codes)
    return order[np.searchsorted(codes, permutations @ weights, sorter=order)]


def _generated(table: Indices, generators: Indices) -> Indices:
    """The subgroup that the generators generate: of finite order, so products suffice."""
    found = np.array([0])
    while True:
        larger = np.union1d(found, table[np.ix_(found, generators)])
        if larger.size == found.size:
            return found
        found = larger


def _distinct(random: np.random.Generator, letters: int, count: int, length: int) -> Indices:
    """Words drawn without putting them back, in the order in which they were drawn."""
    words = letters**length  # a Python integer, which does not overflow
    if words <= 4 * count:
        codes = random.permutation(words)[:count]
        return codes[:, None] // letters ** np.arange(length) % letters
    found = np.empty((0, length), dtype=np.int64)
    while len(found) < count:
        found = np.concatenate([found, random.integers(letters, size=(count - len(found), length))])
        _, first = np.unique(found, axis=0, return_index=True)
        found = found[np.sort(first)]
    return found


IDENTITY, THREE_CYCLE, FIVE_CYCLE, SWAP = (0, 1, 2, 3, 4), (1, 2, 0, 3, 4), (1, 2, 3, 4, 0), (1, 0, 2, 3, 4)

STATE_TRACKING: dict[str, Callable[[], WordProblem]] = {
    "parity": partial(cyclic, 2),
    "mod3": partial(cyclic, 3),
    "circle": partial(cyclic, 5, (0, 1, -1)),
    "S3": partial(symmetric, 3),
    "A5": partial(alternating, 5),
    "A5_generators": partial(alternating, 5, (IDENTITY, THREE_CYCLE, FIVE_CYCLE)),
    "S5": partial(symmetric, 5),
    "S5_generators": partial(symmetric, 5, (IDENTITY, SWAP, FIVE_CYCLE)),
}


def by_name(name: str) -> WordProblem:
    """A task of the table `STATE_TRACKING`.

    Parameters
    ----------
    name : str
        A key of it. The generators of A5 are the identity, a 3-cycle and a 5-cycle; those of S5 the identity, a
        transposition and a 5-cycle.

    Returns
    -------
    WordProblem

    Raises
    ------
    TypeError, ValueError
        If there is no such task.

    References
    ----------
    W. Merrill, J. Petty, A. Sabharwal, "The Illusion of State in State-Space Models", arXiv:2404.08819 (2024).

    Examples
    --------
    >>> by_name("A5_generators")
    <A5: 60 states, 3 tokens>
    """
    return STATE_TRACKING[choice("name", name, STATE_TRACKING)]()
