# Defines openvino::runtime from the Python wheel, and ATTRIBUTION_TOKENIZERS_LIBRARY, the path of the extension
# that adds the tokenizer operations to it (loaded at run time by ov::Core::add_extension).

attribution_python_package(openvino_package openvino)
attribution_python_package(openvino_tokenizers_package openvino_tokenizers)
find_package(OpenVINO REQUIRED COMPONENTS Runtime PATHS ${openvino_package}/cmake NO_DEFAULT_PATH)
find_library(
  ATTRIBUTION_TOKENIZERS_LIBRARY
  openvino_tokenizers
  PATHS ${openvino_tokenizers_package}/lib
  NO_DEFAULT_PATH
  REQUIRED
)
