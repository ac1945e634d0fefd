"""The error that ends an export."""


class ExportError(Exception):
    """Says in one line why the model cannot be exported and what to do about it."""
