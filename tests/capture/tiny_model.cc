#include "tests/capture/tiny_model.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/capture/reference_attention.h"

namespace attribution::capture {
namespace {

constexpr char kFusedContext[] = "    context = torch.scaled_dot_product_attention(q, k, v, allowed)\n";
constexpr char kEagerContext[] =
    "    scores = torch.matmul(q, k.transpose(2, 3)) * 0.35355339059327373\n"
    "    scores = scores.masked_fill(torch.logical_not(allowed), -1e30)\n"
    "    context = torch.matmul(torch.softmax(scores, -1), v)\n";

// A function of the hidden states, the weights of one layer and the mask.
std::string AttendSource(bool fused) {
  return absl::StrCat(
      "def attend(self, hidden, query, key, value, allowed):\n"
      "    b = hidden.size(0)\n"
      "    s = hidden.size(1)\n"
      "    q = torch.matmul(hidden, query).view([b, s, 4, 8]).transpose(1, 2)\n"
      "    k = torch.matmul(hidden, key).view([b, s, 4, 8]).transpose(1, 2)\n"
      "    v = torch.matmul(hidden, value).view([b, s, 4, 8]).transpose(1, 2)\n",
      fused ? kFusedContext : kEagerContext,
      "    return hidden + context.transpose(1, 2).reshape([b, s, 32])\n");
}

constexpr char kEmbedSource[] =
    "def embed(self, input_ids):\n"
    "    places = torch.arange(input_ids.size(1))\n"
    "    return torch.embedding(self.tokens, input_ids) + torch.embedding(self.positions, places)\n";

at::Tensor Weights(at::IntArrayRef shape, double deviation, at::Generator& generator) {
  return at::randn(shape, generator, at::kFloat).mul_(deviation);
}

TinyModel MakeTables(int64_t layers) {
  at::Generator generator = at::detail::createCPUGenerator(/*seed_val=*/5);
  TinyModel model;
  model.tokens = Weights({kTinyVocabulary, kTinyWidth}, 1, generator);
  model.positions = Weights({kTinyPositions, kTinyWidth}, 0.3, generator);
  model.query = Weights({layers, kTinyWidth, kTinyWidth}, 0.2, generator);
  model.key = Weights({layers, kTinyWidth, kTinyWidth}, 0.2, generator);
  model.value = Weights({layers, kTinyWidth, kTinyWidth}, 0.1, generator);
  model.module.register_parameter("tokens", model.tokens, /*is_buffer=*/false);
  model.module.register_parameter("positions", model.positions, /*is_buffer=*/false);
  model.module.define(kEmbedSource);
  return model;
}

at::Tensor SplitHeads(const at::Tensor& hidden) {
  return hidden.unflatten(-1, {kTinyHeads, -1}).transpose(1, 2);
}

}  // namespace

std::vector<at::Tensor> TinyModel::Attentions(const at::Tensor& ids, const at::Tensor& mask) const {
  at::Tensor hidden =
      tokens.to(at::kDouble).index({ids}) + positions.to(at::kDouble).narrow(0, 0, ids.size(1));
  std::vector<at::Tensor> layers;
  for (int64_t layer = 0; layer < query.size(0); ++layer) {
    AttentionInputs inputs;
    inputs.query = SplitHeads(hidden.matmul(query[layer].to(at::kDouble)));
    inputs.key = SplitHeads(hidden.matmul(key[layer].to(at::kDouble)));
    inputs.value = SplitHeads(hidden.matmul(value[layer].to(at::kDouble)));
    inputs.mask = mask.ne(0).unsqueeze(1).unsqueeze(1);
    const ReferenceAttention attention = ComputeReferenceAttention(inputs);
    layers.push_back(attention.probabilities);
    hidden = hidden + attention.output.transpose(1, 2).flatten(2);
  }
  return layers;
}

TinyModel MakeTinyModel(int64_t layers, bool fused) {
  TinyModel model = MakeTables(layers);
  torch::jit::Module list("__torch__.TinyModelList");
  std::string forward =
      "def forward(self, input_ids, attention_mask):\n"
      "    allowed = (attention_mask != 0).unsqueeze(1).unsqueeze(1)\n"
      "    hidden = self.embed(input_ids)\n";
  for (int64_t i = 0; i < layers; ++i) {
    torch::jit::Module layer("__torch__.TinyLayer");
    layer.register_parameter("query", model.query[i], /*is_buffer=*/false);
    layer.register_parameter("key", model.key[i], /*is_buffer=*/false);
    layer.register_parameter("value", model.value[i], /*is_buffer=*/false);
    layer.define(AttendSource(fused));
    layer.define(
        "def forward(self, hidden, allowed):\n"
        "    return self.attend(hidden, self.query, self.key, self.value, allowed)\n");
    list.register_module(std::to_string(i), layer);
    absl::StrAppend(&forward, "    hidden = getattr(self.layers, \"", i, "\").forward(hidden, allowed)\n");
  }
  model.module.register_module("layers", list);
  model.module.define(forward + "    return torch.relu(hidden)\n");
  return model;
}

TinyModel MakeLoopingModel(int64_t layers, bool fused) {
  TinyModel model = MakeTables(layers);
  model.module.register_attribute("layers", c10::IntType::get(), layers);
  model.module.register_parameter("query", model.query, /*is_buffer=*/false);
  model.module.register_parameter("key", model.key, /*is_buffer=*/false);
  model.module.register_parameter("value", model.value, /*is_buffer=*/false);
  model.module.define(AttendSource(fused));
  model.module.define(
      "def forward(self, input_ids, attention_mask):\n"
      "    allowed = (attention_mask != 0).unsqueeze(1).unsqueeze(1)\n"
      "    hidden = self.embed(input_ids)\n"
      "    for i in range(self.layers):\n"
      "        hidden = self.attend(hidden, self.query[i], self.key[i], self.value[i], allowed)\n"
      "    return hidden\n");
  return model;
}

torch::jit::Module ModuleOf(const std::string& source) {
  torch::jit::Module module("__torch__.Model");
  module.define(source);
  return module;
}

std::string Save(const torch::jit::Module& module) {
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  std::string name = absl::StrCat("capture-", test->test_suite_name(), "-", test->name(), ".pt");
  std::replace(name.begin(), name.end(), '/', '-');
  const std::string path = testing::TempDir() + name;
  module.save(path);
  return path;
}

at::Tensor TinyIds(int64_t batch, int64_t length) {
  return at::arange(batch * length, at::kLong).mul_(17).remainder_(kTinyVocabulary).view({batch, length});
}

}  // namespace attribution::capture
