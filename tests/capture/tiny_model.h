// Small TorchScript models written in C++, and their true attention computed from the weights in float64.
#ifndef TESTS_CAPTURE_TINY_MODEL_H_
#define TESTS_CAPTURE_TINY_MODEL_H_

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <string>
#include <vector>

namespace attribution::capture {

inline constexpr int64_t kTinyHeads = 4;
inline constexpr int64_t kTinyWidth = 32;
inline constexpr int64_t kTinyVocabulary = 50;
inline constexpr int64_t kTinyPositions = 600;

// Token and position tables, then layers of attention and a residual; forward(input_ids, attention_mask).
struct TinyModel {
  torch::jit::Module module{"__torch__.TinyModel"};
  at::Tensor tokens, positions;  // [rows, 32]
  at::Tensor query, key, value;  // [L, 32, 32]

  // Probabilities of each layer, [B, H, S, S] float64. `ids` and `mask`: [B, S].
  std::vector<at::Tensor> Attentions(const at::Tensor& ids, const at::Tensor& mask) const;
};

// Layers are submodules `layers.0`, `layers.1`, ...
TinyModel MakeTinyModel(int64_t layers, bool fused);

// One site in a loop, which runs it `layers` times.
TinyModel MakeLoopingModel(int64_t layers, bool fused);

// A module whose forward method and the functions beside it are `source`.
torch::jit::Module ModuleOf(const std::string& source);

// Writes the module into the running test's temporary directory and returns the path.
std::string Save(const torch::jit::Module& module);

// Ids [batch, length] below the vocabulary, deterministic.
at::Tensor TinyIds(int64_t batch, int64_t length);

}  // namespace attribution::capture

#endif  // TESTS_CAPTURE_TINY_MODEL_H_
