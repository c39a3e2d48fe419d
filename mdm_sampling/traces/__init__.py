"""What was seen of a decoding, and the lines in which it is kept."""
