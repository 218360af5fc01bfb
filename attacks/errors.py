"""The error of wrong input, for attacks and for everything that is built on them."""


class InputError(ValueError):
    """Input that cannot be right. The message says what is wrong, then what to do."""
