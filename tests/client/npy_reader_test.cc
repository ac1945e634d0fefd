#include "client/cli/npy_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/npy.h"

namespace attribution::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A file of version 1.0 with the description of an array, as numpy writes it.
std::string File(const std::string& descr, const std::string& shape, const std::string& data,
                 const std::string& order = "False") {
  const std::string description =
      "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': (" + shape + "), }    \n";
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(description.size() & 0xFF);
  header += static_cast<char>(description.size() >> 8);
  return header + description + data;
}

std::string Refusal(const std::string& file) { return std::string(ReadNpy(file).status().message()); }

TEST(NpyReaderTest, ReadsWhatTheWriterWrites) {
  const auto tensor = ReadNpy(NpyHeader({2, 1, 3}) + std::string(24, 'x'));
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->dtype, TensorDtype::kFloat32);
  EXPECT_THAT(tensor->shape, ElementsAre(2, 1, 3));
  EXPECT_EQ(tensor->data, std::string(24, 'x'));
}

TEST(NpyReaderTest, ReadsEveryDtype) {
  EXPECT_EQ(ReadNpy(File("<f2", "3,", std::string(6, 'a')))->dtype, TensorDtype::kFloat16);
  EXPECT_EQ(ReadNpy(File("<i8", "1, 2", std::string(16, 'a')))->dtype, TensorDtype::kInt64);
  EXPECT_EQ(ReadNpy(File("<i4", "2", std::string(8, 'a')))->dtype, TensorDtype::kInt32);
  EXPECT_EQ(ReadNpy(File("|b1", "2", std::string(2, 'a')))->dtype, TensorDtype::kBool);
}

TEST(NpyReaderTest, RefusesEverythingElse) {
  EXPECT_THAT(Refusal(""), HasSubstr("not a .npy file"));
  EXPECT_THAT(Refusal("PK this is a zip file"), HasSubstr("not a .npy file"));
  EXPECT_THAT(Refusal(std::string("\x93NUMPY\x04\x00\x10\x00????", 14)), HasSubstr("version 4"));
  EXPECT_THAT(Refusal(std::string("\x93NUMPY\x01\x00\xff\x00????", 14)), HasSubstr("cut off"));
  EXPECT_THAT(Refusal(File("<f8", "1,", std::string(8, 'a'))), HasSubstr("Its dtype is <f8"));
  EXPECT_THAT(Refusal(File(">f4", "1,", std::string(4, 'a'))), HasSubstr("Its dtype is >f4"));
  EXPECT_THAT(Refusal(File("<f4", "1, 2", std::string(8, 'a'), "True")), HasSubstr("Fortran order"));
  EXPECT_THAT(Refusal(File("<f4", "3,", std::string(8, 'a'))), HasSubstr("does not fill its shape"));
  EXPECT_THAT(Refusal(File("<f4", "9223372036854775807, 8", "")), HasSubstr("does not fill its shape"));
  EXPECT_THAT(Refusal(File("<f4", "99999999999999999999", "")), HasSubstr("Its shape is"));
  EXPECT_THAT(Refusal(File("[('x', '<f4')]", "1,", "")), HasSubstr("not one of a plain array"));
}

}  // namespace
}  // namespace attribution::cli
