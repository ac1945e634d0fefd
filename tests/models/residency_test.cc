#include "server/models/residency.h"

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "attribution/status_details.h"
#include "tests/models/residency_fixture.h"

namespace attribution::models {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(ResidencyTest, LoadsAVersionThatCameLater) {
  Write("a/1");
  Start();
  Write("a/2", "newer");
  const auto info = Load("a");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->version, "2");
  EXPECT_EQ(info->state, ModelState::kServing);
  EXPECT_THAT(States(), ElementsAre("a/1 unloaded", "a/2 serving"));  // one version is the policy
}

TEST_F(ResidencyTest, OldVersionServesUntilTheNewOneDoes) {
  Write("a/1");
  Start();
  Write("a/2", "newer");
  ASSERT_TRUE(Load("a").ok());
  EXPECT_THAT(changes_, ElementsAre("a/2 unloaded", "a/2 loading", "a/2 serving", "a/1 unloaded"));
}

TEST_F(ResidencyTest, LoadsAModelThatCameLater) {
  Start();
  Write("b/7");
  ASSERT_TRUE(Load("b").ok());
  EXPECT_TRUE(store_.Find("b", "7").ok());
}

TEST_F(ResidencyTest, VersionThatWasNamedStaysBesideTheNewest) {
  Write("a/1");
  Write("a/2");
  Start();
  ASSERT_TRUE(Load("a", "1").ok());
  EXPECT_THAT(States(), ElementsAre("a/1 serving", "a/2 serving"));
  EXPECT_EQ((*store_.Find("a", ""))->version, 2);
}

TEST_F(ResidencyTest, SameBytesAreNotLoadedAgainUnlessForced) {
  Write("a/1");
  Start();
  ASSERT_TRUE(Load("a").ok());
  EXPECT_EQ(loads_, 1);
  ASSERT_TRUE(Load("a", "", {.force = true}).ok());
  EXPECT_EQ(loads_, 2);
}

TEST_F(ResidencyTest, OtherBytesReplaceTheOldOnesWithoutAGap) {
  Write("a/1");
  Start();
  const std::string before = store_.Find("a", "").value()->sha256;
  Write("a/1", "other");
  ASSERT_TRUE(Load("a").ok());
  EXPECT_NE(store_.Find("a", "").value()->sha256, before);
  EXPECT_THAT(changes_, ElementsAre("a/1 serving"));  // never anything else
}

TEST_F(ResidencyTest, ReloadThatFailsLeavesTheOldOneServing) {
  Write("a/1");
  Start();
  Write("a/1", "broken");
  const absl::Status status = Load("a").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "MODEL_LOAD_FAILED");
  EXPECT_EQ(status.message(), "The model failed to load. Model \"a\", version 1: model.pt is broken.");
  EXPECT_THAT(States(), ElementsAre("a/1 serving"));
}

TEST_F(ResidencyTest, LoadThatFailsSaysWhyAndSoDoesTheModel) {
  Start();
  Write("a/1", "broken");
  EXPECT_EQ(ReasonOf(Load("a").status()), "MODEL_LOAD_FAILED");
  EXPECT_EQ(store_.Get("a", "")->load_error, "model.pt is broken.");
  Write("a/1", "mended");
  EXPECT_TRUE(Load("a").ok());
}

TEST_F(ResidencyTest, NothingOutsideTheRepositoryIsLoaded) {
  const TemporaryDirectory outside;
  outside.Write("1/model.pt", "whole");
  Write("a/1");
  Start();
  fs::create_directory_symlink(outside.path(), directory_.path() / "link");
  fs::create_directory_symlink(outside.path() / "1", directory_.path() / "a" / "2");
  for (const std::string& name :
       {std::string("link"), std::string(".."), std::string("../a"), outside.path().string(),
        std::string("a/1"), std::string("a\0b", 3), std::string()}) {
    const absl::Status status = Load(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << name << ": " << status;
  }
  const absl::Status status = Load("a", "2").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr(outside.path().string())));
  for (const char* version : {"../1", "1/", "-1", " 1", "x"})
    EXPECT_EQ(Load("a", version).status().code(), absl::StatusCode::kNotFound) << version;
  EXPECT_EQ(loads_, 1);
}

TEST_F(ResidencyTest, UnloadWaitsForWhoStillUsesIt) {
  Write("a/1");
  Start();
  std::shared_ptr<const ResidentModel> job = store_.Find("a", "").value();
  bool done = false;
  residency_->Unload("a", "", [&](const absl::StatusOr<ModelInfo>& info) { done = info.ok(); });
  residency_->RunAll();
  EXPECT_THAT(States(), ElementsAre("a/1 unloaded"));
  EXPECT_EQ(ReasonOf(store_.Find("a", "").status()), "MODEL_NOT_LOADED");
  EXPECT_FALSE(done);
  job.reset();
  EXPECT_TRUE(done);
}

TEST_F(ResidencyTest, UnloadedModelCanBeUnloadedAndLoadedAgain) {
  Write("a/1");
  Start();
  ASSERT_TRUE(Unload("a").ok());
  ASSERT_TRUE(Unload("a").ok());
  EXPECT_THAT(States(), ElementsAre("a/1 unloaded"));
  ASSERT_TRUE(Load("a").ok());
  EXPECT_THAT(States(), ElementsAre("a/1 serving"));
}

TEST_F(ResidencyTest, UnknownModelCannotBeUnloaded) {
  Start();
  EXPECT_EQ(Unload("a").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ResidencyTest, UnloadFirstFreesTheOldCopyBefore) {
  Write("a/1");
  options_.memory_budget_bytes = kModelBytes + 1;
  Start();
  Write("a/1", "other");
  const absl::Status refused = Load("a").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), "MODEL_MEMORY_FULL");
  EXPECT_THAT(std::string(refused.message()), HasSubstr("unload_first"));
  EXPECT_TRUE(store_.Find("a", "").ok());
  std::shared_ptr<const ResidentModel> job = store_.Find("a", "").value();
  absl::StatusOr<ModelInfo> answer = absl::UnknownError("No answer.");
  residency_->Load("a", "", {.unload_first = true},
                   [&](absl::StatusOr<ModelInfo> info) { answer = std::move(info); });
  residency_->RunAll();
  EXPECT_EQ(store_.Find("a", "").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(loads_, 1);  // the old copy is still there
  job.reset();
  residency_->RunAll();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(loads_, 2);
  EXPECT_TRUE(store_.Find("a", "").ok());
}

TEST_F(ResidencyTest, LeastRecentlyUsedGivesWay) {
  for (const char* name : {"a", "b", "c"}) Write(absl::StrCat(name, "/1"));
  options_.memory_budget_bytes = 2 * kModelBytes;
  Start();
  EXPECT_THAT(States(), ElementsAre("a/1 serving", "b/1 serving", "c/1 unloaded"));
  ASSERT_TRUE(store_.Find("b", "").ok());
  ASSERT_TRUE(store_.Find("a", "").ok());  // b is older
  EXPECT_EQ(store_.Find("c", "").status().code(), absl::StatusCode::kUnavailable);
  residency_->RunAll();
  EXPECT_THAT(States(), ElementsAre("a/1 serving", "b/1 unloaded", "c/1 serving"));
  EXPECT_EQ(store_.Find("b", "").status().code(), absl::StatusCode::kUnavailable);
  residency_->RunAll();
  EXPECT_TRUE(store_.Find("b", "").ok());
}

TEST_F(ResidencyTest, PinnedAndBusyModelsStay) {
  for (const char* name : {"a", "b", "c"}) Write(absl::StrCat(name, "/1"));
  directory_.Write("a/model.yaml", "pinned: true\n");
  options_.memory_budget_bytes = 2 * kModelBytes;
  Start();
  std::shared_ptr<const ResidentModel> job = store_.Find("b", "").value();
  const absl::Status refused = Load("c").status();
  EXPECT_EQ(ReasonOf(refused), "MODEL_MEMORY_FULL");
  EXPECT_TRUE(RetryDelayOf(refused).has_value());
  EXPECT_THAT(States(), ElementsAre("a/1 serving", "b/1 serving", "c/1 unloaded"));
  job.reset();
  EXPECT_TRUE(Load("c").ok());
  EXPECT_THAT(States(), ElementsAre("a/1 serving", "b/1 unloaded", "c/1 serving"));
}

TEST_F(ResidencyTest, NobodyGivesWayInVain) {
  Write("a/1");
  Write("b/1", std::string(3 * kModelBytes, 'x'));
  options_.memory_budget_bytes = 2 * kModelBytes;
  Start();
  EXPECT_THAT(States(), ElementsAre("a/1 serving", "b/1 failed"));
  EXPECT_THAT(store_.Get("b", "")->load_error, HasSubstr("can never fit"));
}

TEST_F(ResidencyTest, WithoutABudgetTheDeviceDecides) {
  int64_t free_bytes = 1 << 20;
  options_.free_bytes = [&free_bytes] { return free_bytes; };
  Write("a/1");
  Start();
  free_bytes = 1;
  EXPECT_EQ(ReasonOf(Load("a", "", {.force = true}).status()), "MODEL_MEMORY_FULL");
  EXPECT_TRUE(store_.Find("a", "").ok());
}

TEST_F(ResidencyTest, PolicyChoosesVersions) {
  for (int version = 1; version <= 4; ++version) {
    for (const char* name : {"all", "two", "some"}) Write(absl::StrCat(name, "/", version));
  }
  directory_.Write("all/model.yaml", "versions: all\n");
  directory_.Write("two/model.yaml", "versions: 2\n");
  directory_.Write("some/model.yaml", "versions: [1, 3, 9]\n");
  Start();
  EXPECT_THAT(States(), ElementsAre("all/1 serving", "all/2 serving", "all/3 serving", "all/4 serving",
                                    "some/1 serving", "some/2 unloaded", "some/3 serving", "some/4 unloaded",
                                    "two/1 unloaded", "two/2 unloaded", "two/3 serving", "two/4 serving"));
  EXPECT_EQ((*store_.Find("some", ""))->version, 3);
}

TEST_F(ResidencyTest, BadPolicyHurtsItsModelAlone) {
  Write("a/1");
  Write("b/1");
  directory_.Write("a/model.yaml", "version: all\n");
  Start();
  EXPECT_THAT(States(), ElementsAre("a/1 failed", "b/1 serving"));
  EXPECT_THAT(store_.Get("a", "")->load_error, HasSubstr("Did you mean `versions`?"));
}

TEST_F(ResidencyTest, WhatAnotherDeviceHoldsStaysOut) {
  Write("a/1");
  Write("b/1");
  options_.holds = [](const std::string& name, int64_t bytes) { return name == "b" && bytes == 5; };
  Start();
  EXPECT_THAT(States(), ElementsAre("a/1 unloaded", "b/1 serving"));
  const auto info = Load("a");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->state, ModelState::kUnloaded);
  residency_->Poll();
  residency_->Poll();
  EXPECT_THAT(States(), ElementsAre("a/1 unloaded", "b/1 serving"));
}

TEST_F(ResidencyTest, StopRefusesWhatWaitsAndWhatComes) {
  Write("a/1");
  Start();
  absl::Status waiting;
  residency_->Load("a", "", {}, [&](const absl::StatusOr<ModelInfo>& info) { waiting = info.status(); });
  residency_->Stop();
  EXPECT_EQ(waiting.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(RetryDelayOf(waiting).has_value());
  EXPECT_EQ(Load("a").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Unload("a").status().code(), absl::StatusCode::kUnavailable);
  residency_->Run();  // returns
}

TEST_F(ResidencyTest, ThreadsMayAskAtTheSameTime) {
  Write("a/1");
  Write("b/1");
  options_.memory_budget_bytes = kModelBytes;
  Start();
  std::thread running([this] { residency_->Run(); });
  std::vector<std::thread> threads;
  std::atomic<int> answers = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) {
        const std::string name = (i + round) % 2 == 0 ? "a" : "b";
        (void)store_.Find(name, "");
        residency_->Load(name, "", {.force = true}, [&](const absl::StatusOr<ModelInfo>&) { ++answers; });
        residency_->Unload(name, "", [&](const absl::StatusOr<ModelInfo>&) { ++answers; });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  residency_->Stop();
  running.join();
  EXPECT_EQ(answers, 400);
}

}  // namespace
}  // namespace attribution::models
