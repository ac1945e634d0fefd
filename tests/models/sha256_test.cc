#include "server/models/sha256.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/models/temporary_directory.h"

namespace attribution::models {
namespace {

// The expected digests are the examples of FIPS 180-2.
TEST(Sha256Test, ThreeLetters) {
  const TemporaryDirectory directory;
  EXPECT_EQ(Sha256OfFile(directory.Write("f", "abc")).value_or(""),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256Test, EmptyFile) {
  const TemporaryDirectory directory;
  EXPECT_EQ(Sha256OfFile(directory.Write("f", "")).value_or(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256Test, FileLongerThanOnePiece) {
  const TemporaryDirectory directory;
  EXPECT_EQ(Sha256OfFile(directory.Write("f", std::string(1'000'000, 'a'))).value_or(""),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, MissingFileIsNamedWithoutItsDirectory) {
  const TemporaryDirectory directory;
  const absl::StatusOr<std::string> digest = Sha256OfFile(directory.path() / "model.pt");
  EXPECT_EQ(digest.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(digest.status().message(), "model.pt cannot be opened.");
}

TEST(Sha256Test, DirectoryIsRefused) {
  const TemporaryDirectory directory;
  EXPECT_EQ(Sha256OfFile(directory.path()).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace attribution::models
