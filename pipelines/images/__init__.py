"""Everything between an image file and the pixels that the network sees: decoding, cropping, augmentation, caching."""
