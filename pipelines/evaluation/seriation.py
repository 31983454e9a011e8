"""The order of classes in which those that are confused stand together (seriation)."""

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

# With more classes, the best order of the leaves takes too long, and any order of the tree will do.
MOST_OPTIMAL = 400


def seriated(counts: np.ndarray) -> list[int]:
    """Returns the numbers of the classes so that classes that are taken for each other stand together.

    The order is that of the leaves of a tree (average linkage) with the smallest distances between neighbours
    (Bar-Joseph et al. 2001). Classes that are confused with no other one come last, in their own order.

    Args:
        counts: int [classes, classes], numbers of images; rows are the true classes.
    """
    images = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / images
    likeness = shares + shares.T
    np.fill_diagonal(likeness, 0.0)
    confused = np.flatnonzero(likeness.any(axis=1))
    alone = np.setdiff1d(np.arange(len(counts)), confused)
    if len(confused) < 3:
        return [*confused.tolist(), *alone.tolist()]
    distances = squareform(2.0 - likeness[np.ix_(confused, confused)], checks=False)
    distances = np.where(np.isfinite(distances), distances, 2.0)
    tree = linkage(distances, "average")
    if len(confused) <= MOST_OPTIMAL:
        tree = optimal_leaf_ordering(tree, distances)
    return [*confused[leaves_list(tree)].tolist(), *alone.tolist()]


def by_error(counts: np.ndarray) -> list[int]:
    """Returns the numbers of the classes, those first of whose images the largest share is not recognized.

    Classes without images come last.

    Args:
        counts: int [classes, classes], numbers of images; rows are the true classes.
    """
    images = counts.sum(axis=1)
    missed = 1.0 - counts.diagonal() / np.maximum(images, 1)
    return np.lexsort((-images, -missed, images == 0)).tolist()
