#include "server/models/model_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/models/residency.h"
#include "tests/models/fake_runner.h"
#include "tests/models/residency_fixture.h"
#include "tests/models/temporary_directory.h"

namespace attribution::models {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::string Line(const ModelInfo& info) {
  return absl::StrCat(info.name, "/", info.version, " ", NameOf(info.state));
}

std::vector<std::string> Lines(const std::vector<ModelInfo>& infos) {
  std::vector<std::string> lines;
  for (const ModelInfo& info : infos) lines.push_back(Line(info));
  return lines;
}

// Loads everything but files that say `broken`.
absl::StatusOr<std::unique_ptr<capture::ModelRunner>> LoadUnlessBroken(const std::string& path,
                                                                       const capture::LoadOptions& options) {
  std::string content;
  std::ifstream(path) >> content;
  if (content == "broken") return absl::FailedPreconditionError("model.pt is broken.");
  return LoadThreeLayers(path, options);
}

absl::Status ScanAndLoad(Residency& residency) {
  absl::Status status = residency.Scan();
  if (status.ok()) residency.RunAll();
  return status;
}

class ModelStoreTest : public ::testing::Test {
 protected:
  void Write(const std::string& bundle, const std::string& content = "whole") {
    directory_.Write(fs::path(bundle) / "model.pt", content);
  }

  ResidencyOptions Options() {
    ResidencyOptions options;
    options.repository = directory_.path();
    return options;
  }

  const TemporaryDirectory directory_;
  ModelStore store_;
  Residency residency_{Options(), store_, LoadUnlessBroken};
};

TEST_F(ModelStoreTest, NewestVersionServes) {
  Write("a/9");
  Write("a/10");
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  EXPECT_THAT(Lines(store_.List()), ElementsAre("a/9 unloaded", "a/10 serving"));
  const auto model = store_.Find("a", "");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->version, 10);
}

TEST_F(ModelStoreTest, VersionCanBeNamed) {
  Write("a/3");
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  const auto model = store_.Find("a", "3");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->version, 3);
}

TEST_F(ModelStoreTest, BrokenBundleHurtsNoOther) {
  Write("a/1", "broken");
  Write("b/1");
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  EXPECT_THAT(Lines(store_.List()), ElementsAre("a/1 failed", "b/1 serving"));
  EXPECT_TRUE(store_.Find("b", "").ok());
}

TEST_F(ModelStoreTest, FailedModelAnswersWithItsLoadError) {
  Write("a/1", "broken");
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  const absl::Status status = store_.Find("a", "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "The model failed to load. Model \"a\", version 1: model.pt is broken.");
  EXPECT_EQ(ReasonOf(status), "MODEL_LOAD_FAILED");
  const auto info = store_.Get("a", "");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->load_error, "model.pt is broken.");
}

TEST_F(ModelStoreTest, OlderVersionDoesNotStepInForABrokenOne) {
  Write("a/1");
  Write("a/2", "broken");
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  EXPECT_EQ(ReasonOf(store_.Find("a", "").status()), "MODEL_LOAD_FAILED");
}

TEST_F(ModelStoreTest, VersionThatIsNotLoadedSaysSo) {
  Write("a/1");
  Write("a/2");
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  const absl::Status status = store_.Find("a", "1").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "MODEL_NOT_LOADED");
  EXPECT_THAT(std::string(status.message()), HasSubstr("Model \"a\", version 1"));
}

TEST_F(ModelStoreTest, UnknownModelNamesThoseThereAre) {
  Write("a/1");
  Write("b/1");
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  const absl::Status status = store_.Find("c", "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "There is no such model. Asked for \"c\". Models: a, b.");
  EXPECT_EQ(ReasonOf(status), "MODEL_NOT_FOUND");
}

TEST_F(ModelStoreTest, UnknownVersionNamesThoseThereAre) {
  Write("a/1");
  Write("a/2");
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  for (const char* version : {"3", "-1", "latest", "1 ", "01"}) {
    const absl::Status status = store_.Find("a", version).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << version;
    EXPECT_THAT(std::string(status.message()), HasSubstr("versions: 1, 2.")) << version;
  }
}

TEST_F(ModelStoreTest, NamesAreNeverPaths) {
  Write("a/1");
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  for (const char* name : {"", ".", "..", "a/1", "../a", "/etc"}) {
    const absl::Status status = store_.Find(name, "").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << name;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr(directory_.path().string()))) << name;
  }
}

TEST_F(ModelStoreTest, LongListsOfNamesAreCut) {
  for (int i = 10; i < 35; ++i) Write(absl::StrCat("m", i, "/1"));
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  EXPECT_THAT(std::string(store_.Find("c", "").status().message()), HasSubstr("m28, m29 and 5 more."));
}

TEST_F(ModelStoreTest, LoadingModelIsUnavailableAndTheOthersServe) {
  Write("a/1");
  Write("b/1");
  std::latch loading_b(1);
  std::latch go_on(1);
  ModelStore store;
  Residency residency(Options(), store, [&](const std::string& path, const capture::LoadOptions& options) {
    if (path.find("/b/1/") != std::string::npos) {
      loading_b.count_down();
      go_on.wait();
    }
    return LoadThreeLayers(path, options);
  });
  ASSERT_TRUE(residency.Scan().ok());
  std::thread loading([&] { residency.RunAll(); });
  loading_b.wait();
  EXPECT_TRUE(store.Find("a", "").ok());
  const absl::Status status = store.Find("b", "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(RetryDelayOf(status), absl::Seconds(1));
  EXPECT_EQ(store.Find("c", "").status().code(), absl::StatusCode::kNotFound);
  go_on.count_down();
  loading.join();
  EXPECT_TRUE(store.Find("b", "").ok());
}

TEST_F(ModelStoreTest, WatcherHearsWhatIsThereAndEveryChangeInOrder) {
  Write("a/1");
  Write("a/2");
  Write("b/1", "broken");
  std::vector<std::string> early;
  std::vector<std::string> late;
  store_.Watch([&](const ModelInfo& info) { early.push_back(Line(info)); });
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  store_.Watch([&](const ModelInfo& info) { late.push_back(Line(info)); });
  EXPECT_THAT(early, ElementsAre("a/1 unloaded", "a/2 loading", "b/1 loading", "a/2 serving", "b/1 failed"));
  EXPECT_THAT(late, ElementsAre("a/1 unloaded", "a/2 serving", "b/1 failed"));
}

TEST_F(ModelStoreTest, WatcherMayAskTheStore) {
  Write("a/1");
  std::vector<bool> served;
  store_.Watch([&](const ModelInfo& info) { served.push_back(store_.Find(info.name, info.version).ok()); });
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  EXPECT_THAT(served, ElementsAre(false, true));
}

TEST_F(ModelStoreTest, EmptyRepositoryIsFine) {
  ASSERT_TRUE(ScanAndLoad(residency_).ok());
  EXPECT_THAT(store_.List(), IsEmpty());
  EXPECT_EQ(store_.Find("a", "").status().message(),
            "There is no such model. Asked for \"a\". There is none.");
}

TEST_F(ModelStoreTest, RepositoryThatCannotBeReadIsAnError) {
  ResidencyOptions options;
  options.repository = directory_.path() / "gone";
  ModelStore store;
  Residency residency(options, store, LoadThreeLayers);
  EXPECT_EQ(residency.Scan().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store.Find("a", "").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ModelStoreTest, IgnoredDirectoriesAreNoted) {
  Write("my model/1");
  std::vector<std::string> notes;
  ResidencyOptions options = Options();
  options.note = [&](const std::string& sentence) { notes.push_back(sentence); };
  ModelStore store;
  Residency residency(options, store, LoadThreeLayers);
  ASSERT_TRUE(ScanAndLoad(residency).ok());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("Ignored \"my model\"")));
}

TEST_F(ModelStoreTest, RestOfALoadErrorIsNotedAndNotTold) {
  Write("a/1");
  std::vector<std::string> notes;
  ResidencyOptions options = Options();
  options.note = [&](const std::string& text) { notes.push_back(text); };
  ModelStore store;
  Residency residency(options, store, [](const std::string&, const capture::LoadOptions&) {
    return absl::StatusOr<std::unique_ptr<capture::ModelRunner>>(
        absl::FailedPreconditionError("No.\nframe #0"));
  });
  ASSERT_TRUE(ScanAndLoad(residency).ok());
  EXPECT_THAT(notes, ElementsAre("Model \"a\", version 1 failed to load: No.\nframe #0"));
  EXPECT_EQ(store.List().at(0).load_error, "No.");
}

TEST_F(ModelStoreTest, ThreadsMayAskWhileItLoads) {
  for (int i = 0; i < 20; ++i) Write(absl::StrCat("m", i, "/1"));
  std::atomic<bool> done = false;
  std::atomic<int> heard = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      store_.Watch([&](const ModelInfo&) { ++heard; });
      while (!done) {
        (void)store_.List();
        (void)store_.Get("m7", "");
        (void)store_.Find("m19", "1");
      }
    });
  }
  EXPECT_TRUE(ScanAndLoad(residency_).ok());
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Lines(store_.List()).size(), 20u);
  EXPECT_GE(heard, 3 * 20);
}

}  // namespace
}  // namespace attribution::models
