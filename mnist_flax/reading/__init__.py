"""Reading of pictures with any number of digits: where they are, in which rows."""
