// Checks that text is UTF-8. Pure; safe from any thread.
#ifndef SERVER_TEXT_UTF8_H_
#define SERVER_TEXT_UTF8_H_

#include <cstddef>
#include <string_view>

namespace attribution::text {

// Returns the offset of the first byte that does not belong to well-formed UTF-8 (Unicode, table 3-7: no
// surrogates, nothing overlong, nothing above U+10FFFF); text.size() if all of it does.
size_t ValidUtf8Prefix(std::string_view text);

}  // namespace attribution::text

#endif  // SERVER_TEXT_UTF8_H_
