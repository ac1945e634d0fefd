// A residency over a repository in a temporary directory, whose models load at once, by the test's own hand.
#ifndef TESTS_MODELS_RESIDENCY_FIXTURE_H_
#define TESTS_MODELS_RESIDENCY_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/models/residency.h"
#include "tests/models/fake_runner.h"
#include "tests/models/temporary_directory.h"

namespace attribution::models {

inline constexpr int64_t kModelBytes = 1000;  // of every model in memory; more than its file

inline const char* NameOf(ModelState state) {
  constexpr const char* kNames[] = {"loading", "serving", "failed", "unloaded"};
  const ModelState states[] = {ModelState::kLoading, ModelState::kServing, ModelState::kFailed,
                               ModelState::kUnloaded};
  for (size_t i = 0; i < std::size(states); ++i) {
    if (states[i] == state) return kNames[i];
  }
  return "?";
}

class ResidencyTest : public ::testing::Test {
 protected:
  ResidencyTest() { options_.repository = directory_.path(); }

  // Writes a bundle whose model.pt says `content`; "broken" does not load.
  void Write(const std::string& bundle, const std::string& content = "whole") {
    directory_.Write(std::filesystem::path(bundle) / "model.pt", content);
  }

  // Makes the residency, and loads what is in the repository.
  void Start() {
    residency_ = std::make_unique<Residency>(
        options_, store_, [this](const std::string& path, const capture::LoadOptions& options) {
          return LoadOne(path, options);
        });
    store_.Watch([this](const ModelInfo& info) {
      changes_.push_back(absl::StrCat(info.name, "/", info.version, " ", NameOf(info.state)));
    });
    ASSERT_TRUE(residency_->Scan().ok());
    residency_->RunAll();
    changes_.clear();
  }

  absl::StatusOr<ModelInfo> Load(const std::string& name, const std::string& version = "",
                                 LoadModelOptions options = {}) {
    absl::StatusOr<ModelInfo> answer = absl::UnknownError("No answer.");
    residency_->Load(name, version, options,
                     [&](absl::StatusOr<ModelInfo> info) { answer = std::move(info); });
    residency_->RunAll();
    return answer;
  }

  absl::StatusOr<ModelInfo> Unload(const std::string& name, const std::string& version = "") {
    absl::StatusOr<ModelInfo> answer = absl::UnknownError("No answer.");
    residency_->Unload(name, version, [&](absl::StatusOr<ModelInfo> info) { answer = std::move(info); });
    residency_->RunAll();
    return answer;
  }

  std::vector<std::string> States() const {
    std::vector<std::string> lines;
    for (const ModelInfo& info : store_.List())
      lines.push_back(absl::StrCat(info.name, "/", info.version, " ", NameOf(info.state)));
    return lines;
  }

  absl::StatusOr<std::unique_ptr<capture::ModelRunner>> LoadOne(const std::string& path,
                                                                const capture::LoadOptions&) {
    std::string content;
    std::ifstream(path) >> content;
    if (content == "broken") return absl::FailedPreconditionError("model.pt is broken.");
    ++loads_;
    capture::ModelDescription description = ThreeLayers();
    description.resident_bytes = kModelBytes;
    return std::make_unique<FakeRunner>(description);
  }

  const TemporaryDirectory directory_;
  ResidencyOptions options_;
  ModelStore store_;
  std::unique_ptr<Residency> residency_;
  std::vector<std::string> changes_;  // since Start()
  int loads_ = 0;
};

}  // namespace attribution::models

#endif  // TESTS_MODELS_RESIDENCY_FIXTURE_H_
