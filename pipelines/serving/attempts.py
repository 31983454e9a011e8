"""Computes something for each element of a batch in a TensorFlow graph, so that one that fails costs only itself.

TensorFlow's decoders end the whole graph at bytes that they cannot decode. A `tf.data` pipeline can leave out an
element that raises, it runs in C++ without Python, and it decodes on all cores.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def attempted(function: Callable[[Any], Any], elements: Any, otherwise: Any) -> tuple[Any, Any]:
    """Applies a function to each element of a batch, whatever happens to some of them.

    Args:
        function: Function from one element to a tensor of the shape and type of `otherwise`.
        elements: Tensor [batch, …].
        otherwise: Result for an element at which the function raises.

    Returns:
        Results [batch, …], and whether each is the function's own, bool [batch].
    """
    count = tf.shape(elements, tf.int64)[0]
    numbered = tf.data.Dataset.range(count).map(
        lambda number: (number, function(elements[number])), num_parallel_calls=tf.data.AUTOTUNE
    )
    # One element more than there are keeps the only batch from being empty, which `get_single_element` refuses.
    last = tf.data.Dataset.from_tensors((count, otherwise))
    numbers, results = numbered.ignore_errors().concatenate(last).batch(count + 1).get_single_element()
    row = tf.scatter_nd(numbers[:, tf.newaxis], tf.range(tf.size(numbers)) + 1, (count + 1)[tf.newaxis])[:-1]
    # Elements without a result have row 0 here, and take the last one's.
    return tf.gather(results, (row - 1) % tf.size(numbers)), row > 0
