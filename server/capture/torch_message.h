// What torch says when it throws, made fit for one sentence.
//
// Pure function; any thread.
#ifndef SERVER_CAPTURE_TORCH_MESSAGE_H_
#define SERVER_CAPTURE_TORCH_MESSAGE_H_

#include <string>
#include <string_view>

namespace attribution::capture {

struct TorchMessage {
  std::string sentence;  // the message itself, without traces and without its last full stop
  std::string source;    // `model.py:12`, the innermost line of the model's code; empty if none is named

  // "sentence, at source", or the sentence alone.
  std::string Text() const;
};

// Takes apart the text of an exception of torch: of the interpreter, whose message follows its traces, or of
// the compiler, whose message stands before them. Files are named without their folder.
TorchMessage ReadTorchMessage(std::string_view what);

}  // namespace attribution::capture

#endif  // SERVER_CAPTURE_TORCH_MESSAGE_H_
