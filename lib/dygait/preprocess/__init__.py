"""From the images of a camera or a segmenter to the frames that a network reads; imports nothing heavy."""
