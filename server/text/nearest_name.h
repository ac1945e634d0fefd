// Finds what a mistyped name was probably meant to be. Pure; safe from any thread.
#ifndef SERVER_TEXT_NEAREST_NAME_H_
#define SERVER_TEXT_NEAREST_NAME_H_

#include <string>
#include <string_view>
#include <vector>

namespace attribution::text {

// Returns the known name with the fewest insertions, deletions and replacements away from `name`, the first
// of equals; empty if even that one differs in more than a third of its letters.
std::string NearestName(std::string_view name, const std::vector<std::string>& known);

}  // namespace attribution::text

#endif  // SERVER_TEXT_NEAREST_NAME_H_
