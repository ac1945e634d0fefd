// Holds nothing: a target needs a source to build the shared precompiled header.
