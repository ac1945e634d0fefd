// Reads arrays of numpy's .npy format for sending them as they are.
//
// Functions without state; any thread.
#ifndef ATTRIBUTION_CLIENT_CLI_NPY_READER_H_
#define ATTRIBUTION_CLIENT_CLI_NPY_READER_H_

#include <string>

#include "absl/status/statusor.h"
#include "attribution/request.h"

namespace attribution::cli {

// Reads the bytes of a file of version 1.0 to 3.0 with `<f4`, `<f2`, `<i8`, `<i4` or `|b1` in C order, as a
// tensor without a name. INVALID_ARGUMENT with a sentence for anything else, also for data of another size
// than the shape's.
absl::StatusOr<NamedTensor> ReadNpy(std::string bytes);

// Reads a file of such bytes. Usage error, naming the file.
absl::StatusOr<NamedTensor> ReadNpyFile(const std::string& path);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_NPY_READER_H_
