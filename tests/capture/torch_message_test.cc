#include "server/capture/torch_message.h"

#include <gtest/gtest.h>

namespace attribution::capture {
namespace {

TEST(TorchMessageTest, MessageOfTheInterpreterFollowsItsTraces) {
  const TorchMessage message = ReadTorchMessage(
      "The following operation failed in the TorchScript interpreter.\n"
      "Traceback of TorchScript, serialized code (most recent call last):\n"
      "  File \"code/__torch__/mangled.py\", line 3, in forward\n"
      "Traceback of TorchScript, original code (most recent call last):\n"
      "  File \"/home/someone/models/model.py\", line 34, in forward\nRuntimeError: too few rows\nmore\n");
  EXPECT_EQ(message.sentence, "too few rows");
  EXPECT_EQ(message.source, "model.py:34");
  EXPECT_EQ(message.Text(), "too few rows, at model.py:34");
}

TEST(TorchMessageTest, MessageOfTheCompilerStandsBeforeItsTrace) {
  const TorchMessage message = ReadTorchMessage(
      "\nUnknown builtin op: mine::attention.\nCould not find any similar ops.\n:\n"
      "  File \"code/__torch__/model.py\", line 12\n    x = ops.mine.attention(x)\n");
  EXPECT_EQ(message.Text(), "Unknown builtin op: mine::attention, at model.py:12");
}

TEST(TorchMessageTest, CodeThatWasTypedInHasNoSource) {
  EXPECT_EQ(ReadTorchMessage("bad thing.\n  File \"<string>\", line 2\n").Text(), "bad thing");
}

TEST(TorchMessageTest, AnythingElseIsItsFirstLine) {
  EXPECT_EQ(ReadTorchMessage("plain words\nmore").Text(), "plain words");
  EXPECT_EQ(ReadTorchMessage("").Text(), "");
}

}  // namespace
}  // namespace attribution::capture
