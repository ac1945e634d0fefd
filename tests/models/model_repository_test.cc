#include "server/models/model_repository.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/models/temporary_directory.h"

namespace attribution::models {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A repository beside a directory that is not part of it.
class ModelRepositoryTest : public ::testing::Test {
 protected:
  ModelRepositoryTest() : root_(directory_.path() / "repository") { fs::create_directories(root_); }

  void Write(const std::string& relative) { directory_.Write(fs::path("repository") / relative, "x"); }

  RepositoryScan Scan() {
    absl::StatusOr<RepositoryScan> scan = ScanRepository(root_);
    EXPECT_TRUE(scan.ok()) << scan.status();
    return scan.ok() ? *scan : RepositoryScan{};
  }

  // The bundles found, as `name/version`, with `!` for one that must not be opened.
  std::vector<std::string> Found() {
    std::vector<std::string> found;
    for (const BundlePaths& bundle : Scan().bundles) {
      found.push_back(absl::StrCat(bundle.name, "/", bundle.version, bundle.problem.ok() ? "" : "!"));
    }
    return found;
  }

  // The problem of the only bundle.
  std::string Problem() {
    const RepositoryScan scan = Scan();
    EXPECT_EQ(scan.bundles.size(), 1u);
    return scan.bundles.empty() ? "" : std::string(scan.bundles[0].problem.message());
  }

  TemporaryDirectory directory_;
  const fs::path root_;
};

TEST_F(ModelRepositoryTest, ListsByNameThenVersionAsANumber) {
  for (const char* file : {"b/1/model.pt", "a/10/model.pt", "a/9/model.pt", "a/0/model.pt"}) Write(file);
  EXPECT_THAT(Found(), ElementsAre("a/0", "a/9", "a/10", "b/1"));
}

TEST_F(ModelRepositoryTest, FindsTheFilesOfABundle) {
  for (const char* file : {"model.pt", "manifest.yaml", "tokenizer.xml", "tokenizer.bin", "tokenizer.json"}) {
    Write(absl::StrCat("a/1/", file));
  }
  const RepositoryScan scan = Scan();
  ASSERT_EQ(scan.bundles.size(), 1u);
  const BundlePaths& bundle = scan.bundles[0];
  EXPECT_EQ(bundle.directory, root_ / "a/1");
  EXPECT_EQ(bundle.model, root_ / "a/1/model.pt");
  EXPECT_EQ(bundle.manifest, root_ / "a/1/manifest.yaml");
  EXPECT_EQ(bundle.tokenizer, root_ / "a/1/tokenizer.xml");
  EXPECT_EQ(bundle.vocabulary, root_ / "a/1/tokenizer.json");
}

TEST_F(ModelRepositoryTest, ModelAloneIsABundle) {
  Write("a/1/model.pt");
  const RepositoryScan scan = Scan();
  ASSERT_EQ(scan.bundles.size(), 1u);
  EXPECT_TRUE(scan.bundles[0].problem.ok());
  EXPECT_TRUE(scan.bundles[0].manifest.empty());
  EXPECT_TRUE(scan.bundles[0].tokenizer.empty());
}

TEST_F(ModelRepositoryTest, EmptyRepositoryHasNoBundles) { EXPECT_THAT(Found(), IsEmpty()); }

TEST_F(ModelRepositoryTest, VersionWithoutModelIsNoBundleYet) {
  Write("a/2/manifest.yaml");
  Write("a/1/model.pt");
  EXPECT_THAT(Found(), ElementsAre("a/1"));
  EXPECT_THAT(Scan().ignored, ElementsAre("Ignored \"a/2\": it has no model.pt."));
}

TEST_F(ModelRepositoryTest, HiddenDirectoriesAreSkippedSilently) {
  Write(".oracle/1/model.pt");
  Write("a/.export-x/model.pt");
  EXPECT_THAT(Found(), IsEmpty());
  EXPECT_THAT(Scan().ignored, IsEmpty());
}

TEST_F(ModelRepositoryTest, NamesThatCannotBeAskedForAreIgnored) {
  for (const char* name : {"my model", "-a", "_a", "a\nb", "ä"}) Write(absl::StrCat(name, "/1/model.pt"));
  EXPECT_THAT(Found(), IsEmpty());
  EXPECT_EQ(Scan().ignored.size(), 5u);
  for (const std::string& sentence : Scan().ignored) EXPECT_THAT(sentence, Not(HasSubstr("\n")));
}

TEST_F(ModelRepositoryTest, VersionsThatAreNoWholeNumbersAreIgnored) {
  for (const char* version : {"v1", "01", "1.0", "-1", "99999999999999999999", "latest"}) {
    Write(absl::StrCat("a/", version, "/model.pt"));
  }
  EXPECT_THAT(Found(), IsEmpty());
  EXPECT_EQ(Scan().ignored.size(), 6u);
}

TEST_F(ModelRepositoryTest, LooseFilesAreSkipped) {
  Write("README.md");
  Write("a/notes.txt");
  Write("a/1/model.pt");
  EXPECT_THAT(Found(), ElementsAre("a/1"));
  EXPECT_THAT(Scan().ignored, IsEmpty());
}

TEST_F(ModelRepositoryTest, LinksInsideAreFollowed) {
  Write("a/1/model.pt");
  fs::create_directory_symlink("1", root_ / "a/2");
  fs::create_directory_symlink(root_ / "a", root_ / "b");
  const RepositoryScan scan = Scan();
  EXPECT_THAT(Found(), ElementsAre("a/1", "a/2", "b/1", "b/2"));
  for (const BundlePaths& bundle : scan.bundles) EXPECT_EQ(bundle.model, root_ / "a/1/model.pt");
}

TEST_F(ModelRepositoryTest, RepositoryMayItselfBeALink) {
  Write("a/1/model.pt");
  fs::create_directory_symlink(root_, directory_.path() / "link");
  const absl::StatusOr<RepositoryScan> scan = ScanRepository(directory_.path() / "link");
  ASSERT_TRUE(scan.ok()) << scan.status();
  ASSERT_EQ(scan->bundles.size(), 1u);
  EXPECT_EQ(scan->bundles[0].model, root_ / "a/1/model.pt");
}

TEST_F(ModelRepositoryTest, ModelThatLeadsOutsideIsAProblemOfItsBundleAlone) {
  directory_.Write("outside/model.pt", "x");
  Write("b/1/model.pt");
  fs::create_directories(root_ / "a/1");
  fs::create_symlink("../../../outside/model.pt", root_ / "a/1/model.pt");
  EXPECT_THAT(Found(), ElementsAre("a/1!", "b/1"));
  EXPECT_EQ(Scan().bundles[0].problem.message(),
            "model.pt leads outside the model repository. Copy the file into it.");
  EXPECT_TRUE(Scan().bundles[0].model.empty());
}

TEST_F(ModelRepositoryTest, EveryFileOfABundleMustBeInside) {
  const fs::path outside = directory_.Write("outside/secret", "x");
  for (const char* file : {"manifest.yaml", "tokenizer.xml", "tokenizer.bin", "tokenizer.json"}) {
    fs::remove_all(root_ / "a");
    Write("a/1/model.pt");
    fs::create_symlink(outside, root_ / "a/1" / file);
    EXPECT_THAT(Problem(), HasSubstr(absl::StrCat(file, " leads outside"))) << file;
  }
}

TEST_F(ModelRepositoryTest, VersionDirectoryThatLeadsOutsideIsAProblem) {
  directory_.Write("outside/model.pt", "x");
  fs::create_directories(root_ / "a");
  fs::create_directory_symlink(directory_.path() / "outside", root_ / "a/1");
  EXPECT_THAT(Problem(), HasSubstr("The bundle leads outside"));
}

TEST_F(ModelRepositoryTest, NeighbourWithTheSameBeginningIsOutside) {
  directory_.Write("repository-2/1/model.pt", "x");
  fs::create_directory_symlink(directory_.path() / "repository-2", root_ / "a");
  EXPECT_THAT(Found(), IsEmpty());
  EXPECT_THAT(Scan().ignored, ElementsAre(HasSubstr("leads outside")));
}

TEST_F(ModelRepositoryTest, LinkToNowhereIsAProblem) {
  fs::create_directories(root_ / "a/1");
  fs::create_symlink("gone", root_ / "a/1/model.pt");
  EXPECT_EQ(Problem(), "model.pt cannot be opened.");
}

TEST_F(ModelRepositoryTest, PipeIsNotOpened) {
  fs::create_directories(root_ / "a/1");
  ASSERT_EQ(mkfifo((root_ / "a/1/model.pt").c_str(), 0600), 0);
  EXPECT_EQ(Problem(), "model.pt is not a file.");
}

TEST_F(ModelRepositoryTest, TokenizerMustHaveItsWeightsBesideIt) {
  Write("a/1/model.pt");
  Write("a/1/tokenizer.xml");
  EXPECT_THAT(Problem(), HasSubstr("tokenizer.bin is not beside tokenizer.xml."));
}

TEST_F(ModelRepositoryTest, ProblemsNameNoPath) {
  fs::create_directories(root_ / "a/1");
  fs::create_symlink("/etc/passwd", root_ / "a/1/model.pt");
  EXPECT_THAT(Problem(), Not(HasSubstr("/")));
}

TEST_F(ModelRepositoryTest, MissingRepositoryIsAnError) {
  const absl::StatusOr<RepositoryScan> scan = ScanRepository(root_ / "gone");
  EXPECT_EQ(scan.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(scan.status().message()), HasSubstr("Check --model-repository."));
}

TEST_F(ModelRepositoryTest, FileInPlaceOfTheRepositoryIsAnError) {
  Write("file");
  EXPECT_EQ(ScanRepository(root_ / "file").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ModelNameTest, LettersDigitsDotUnderscoreDash) {
  for (const char* name : {"a", "0", "all-MiniLM-L6_v2.1"}) EXPECT_TRUE(IsModelName(name)) << name;
  for (const char* name : {"", ".", "..", ".a", "a/b", "../a", "/a", "a b", "a\\b"})
    EXPECT_FALSE(IsModelName(name)) << name;
}

}  // namespace
}  // namespace attribution::models
