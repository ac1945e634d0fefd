// Stands in for capture: a runner with a description and no model behind it, and a loader that makes them.
#ifndef TESTS_MODELS_FAKE_RUNNER_H_
#define TESTS_MODELS_FAKE_RUNNER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/capture/model_runner.h"

namespace attribution::models {

class FakeRunner : public capture::ModelRunner {
 public:
  explicit FakeRunner(capture::ModelDescription description) : description_(std::move(description)) {}
  const capture::ModelDescription& description() const override { return description_; }
  absl::Status Run(const std::vector<at::Tensor>&, capture::AttentionObserver&) const override {
    return absl::UnimplementedError("There is no model here.");
  }

 private:
  const capture::ModelDescription description_;
};

// A model of three layers that takes ids and a mask.
inline capture::ModelDescription ThreeLayers() {
  capture::ModelDescription description;
  description.inputs = {{"input_ids", capture::InputRole::kInputIds},
                        {"mask", capture::InputRole::kAttentionMask}};
  description.sites = {
      AttentionSite{0, "layer.0", SiteKind::kBlocked, "aten::scaled_dot_product_attention", 3}};
  description.skipped = {SkippedSite{"pooler", "not square"}};
  description.execution_order = {0, 0, 0};
  description.num_heads = 4;
  description.vocabulary_size = 100;
  description.max_sequence_length = 64;
  description.resident_bytes = 12345;
  return description;
}

inline absl::StatusOr<std::unique_ptr<capture::ModelRunner>> LoadThreeLayers(const std::string&,
                                                                             const capture::LoadOptions&) {
  return std::make_unique<FakeRunner>(ThreeLayers());
}

}  // namespace attribution::models

#endif  // TESTS_MODELS_FAKE_RUNNER_H_
