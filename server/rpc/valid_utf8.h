// Keeps text that came from a model or a tokenizer fit for a protobuf string, which must be UTF-8. Pure
// function.
#ifndef SERVER_RPC_VALID_UTF8_H_
#define SERVER_RPC_VALID_UTF8_H_

#include <string>

namespace attribution::rpc {

// Returns `text` with every byte that is not part of valid UTF-8 replaced by U+FFFD.
std::string ValidUtf8(std::string text);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_VALID_UTF8_H_
