// Reads files of a bounded size, such as manifests and lists of tokens.
#ifndef SERVER_TEXT_SMALL_FILE_H_
#define SERVER_TEXT_SMALL_FILE_H_

#include <cstddef>
#include <optional>
#include <string>

namespace attribution::text {

// Returns the text of a file; of one that is longer than `max_bytes` the first max_bytes + 1, which tells
// that there is more. Nothing if it cannot be read.
std::optional<std::string> ReadSmallFile(const std::string& path, size_t max_bytes);

}  // namespace attribution::text

#endif  // SERVER_TEXT_SMALL_FILE_H_
