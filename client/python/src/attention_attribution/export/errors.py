"""The error that ends an export."""


class ExportError(Exception):
    """Says in one line why the model cannot be exported and what to do about it."""


def first_line(error: Exception) -> str:
    """The first line of an error of another library, without its full stop; its type if it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def last_line(error: Exception) -> str:
    """The last line of an error of TorchScript, which begins with a traceback."""
    return str(error).strip().splitlines()[-1].rstrip(".")
