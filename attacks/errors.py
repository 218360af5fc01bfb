"""The error of wrong input, for attacks and for everything that is built on them."""


class InputError(ValueError):
    """What was given cannot be right. The message says what is wrong, then what to do."""
