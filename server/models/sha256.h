// SHA-256 of a file, read piece by piece. Pure; safe from any thread.
#ifndef SERVER_MODELS_SHA256_H_
#define SERVER_MODELS_SHA256_H_

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"

namespace attribution::models {

// Returns 64 lower-case hexadecimal digits. FAILED_PRECONDITION, naming the file without its directory, if it
// cannot be read.
absl::StatusOr<std::string> Sha256OfFile(const std::filesystem::path& path);

}  // namespace attribution::models

#endif  // SERVER_MODELS_SHA256_H_
