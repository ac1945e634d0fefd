#include "server/engine/guarded.h"

#include <exception>
#include <string>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/memory/out_of_memory.h"

namespace attribution::engine {

absl::Status Guarded(const std::function<absl::Status()>& step) {
  try {
    return step();
  } catch (const std::exception& error) {
    if (memory::IsOutOfMemory(error)) return memory::OutOfMemory(error);
    const std::string what = error.what();
    const std::string sentence =
        absl::StrCat("The computation failed. It said: ", what.substr(0, what.find('\n')),
                     ". The server's log has the whole message.");
    return WithLogDetail(WithReason(absl::InternalError(sentence), "COMPUTATION_FAILED"), what);
  }
}

}  // namespace attribution::engine
