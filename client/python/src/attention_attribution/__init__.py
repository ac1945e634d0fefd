"""Python side of the attention attribution server.

`attention_attribution.export` writes Hugging Face models into the server's model repository; it needs the
`export` extra. Importing this package needs nothing beyond the standard library.
"""

__version__ = "0.1.0"
