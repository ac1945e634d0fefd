"""Export of a Hugging Face model into a bundle that the attention attribution server loads.

A bundle is the directory `<repository>/<name>/<integer version>/` with these files:

    model.pt         TorchScript. `forward` takes the inputs of the manifest, each an int64 tensor [B, S] unless it
                     is declared otherwise, and returns the last hidden state [B, S, D].
    manifest.yaml    What the server has to know about model.pt; keys below.
    tokenizer.xml    The tokenizer as an OpenVINO graph: special tokens on, padding and truncation off. Absent, with
    tokenizer.bin    the other two tokenizer files, if the model folder has no tokenizer.
    tokenizer.json   The same tokenizer in Hugging Face's format, for the strings of its tokens.

Keys of manifest.yaml:

    format_version           1
    name                     name of the model, the folder's name in the repository
    sha256                   of model.pt, 64 lower-case hexadecimal digits
    attention                `sdpa` (fused) or `eager`: the form of attention that was traced
    dtype                    of the weights: float32, float16 or bfloat16
    frozen                   whether the weights are constants of the graph; attention modules then have no paths and
                             are numbered `site.0`, `site.1`, ...
    inputs                   names of forward's arguments in order: input_ids, then attention_mask and
                             token_type_ids where the model takes them; of a model of images a mapping
                             {name: pixel_values, dtype, shape}, -1 for the batch
    patch_grid               {rows, columns, first_position} of the patches of an image among the positions
    vocabulary_size          ids are in [0, vocabulary_size)
    max_sequence_length      longest sequence in tokens; absent if the model sets no bound
    pad_token_id             id that fills the right of shorter sequences
    num_layers, num_heads    as the model's configuration says; information only, the server counts for itself
    attention_layer_pattern  default pattern for the paths of attention modules; empty: all
    warmup_shapes            list of [batch, length] that the server runs when it loads the bundle
    tokenizer                {model, vocabulary, max_length}: file names, and the number of tokens to which a
                             request with `truncate` is cut (absent if unbounded); absent without tokenizer
    source                   {architecture, transformers, torch}: where the weights came from; information only
"""

from .bundle import export_model
from .errors import ExportError

__all__ = ["ExportError", "export_model"]
