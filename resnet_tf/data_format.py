"""The order of axes that Keras is configured for."""

import keras

from resnet_tf.errors import UserError


def check_data_format() -> None:
    """Checks that Keras is configured for the axes that the networks are written for.

    Builders would make another network otherwise, and some of Keras's layers, such as Rescaling, ask for it when they
    are called, so that finished networks would compute something else or fail.

    Raises:
        UserError: Keras is configured for channels first.
    """
    if keras.config.image_data_format() != "channels_last":
        raise UserError(
            "Keras is configured for channels_first, in keras.json or by keras.config.set_image_data_format, and these "
            "networks are channels_last; call keras.config.set_image_data_format('channels_last') first"
        )
