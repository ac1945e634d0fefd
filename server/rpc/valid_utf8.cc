#include "server/rpc/valid_utf8.h"

#include <cstddef>
#include <string_view>

#include "server/text/utf8.h"

namespace attribution::rpc {

std::string ValidUtf8(std::string text) {
  size_t valid = text::ValidUtf8Prefix(text);
  if (valid == text.size()) return text;
  std::string result;
  for (std::string_view rest = text; !rest.empty(); valid = text::ValidUtf8Prefix(rest)) {
    result.append(rest.substr(0, valid));
    rest.remove_prefix(valid);
    if (rest.empty()) break;
    result.append("\xEF\xBF\xBD");
    rest.remove_prefix(1);
  }
  return result;
}

}  // namespace attribution::rpc
