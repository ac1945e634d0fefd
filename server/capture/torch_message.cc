#include "server/capture/torch_message.h"

#include <re2/re2.h>

#include "absl/strings/str_cat.h"

namespace attribution::capture {
namespace {

// The interpreter puts its traces first; the message follows the last "RuntimeError: " or the like.
std::string_view OwnMessage(std::string_view what) {
  const size_t error = what.rfind("Error: ");
  if (error != std::string_view::npos) what.remove_prefix(error + std::string_view("Error: ").size());
  while (!what.empty() && (what.front() == ' ' || what.front() == '\n')) what.remove_prefix(1);
  what = what.substr(0, what.find('\n'));
  while (!what.empty() && (what.back() == '.' || what.back() == ':' || what.back() == ' '))
    what.remove_suffix(1);
  return what;
}

}  // namespace

std::string TorchMessage::Text() const {
  return source.empty() ? sentence : absl::StrCat(sentence, ", at ", source);
}

TorchMessage ReadTorchMessage(std::string_view what) {
  static const RE2 place("File \"(?:[^\"\n]*/)?([^\"/\n]+)\", line (\\d+)");
  TorchMessage message{std::string(OwnMessage(what)), ""};
  re2::StringPiece rest(what.data(), what.size());
  std::string file;
  std::string line;
  while (RE2::FindAndConsume(&rest, place, &file, &line)) message.source = absl::StrCat(file, ":", line);
  return message;
}

}  // namespace attribution::capture
