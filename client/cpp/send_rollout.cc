#include "client/cpp/send_rollout.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "client/cpp/convert.h"

namespace attribution::client {
namespace {

constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kMaxQueuedMessages = 16;  // of at most about 1 MiB

// Hands messages from the thread that reads to the one that calls. Waiting is by wait_for, for the thread
// sanitizer does not see what wait() locks inside libstdc++.
class MessageQueue {
 public:
  // Waits for room.
  void Push(v1::RolloutResponse message) {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::hours(1),
                              [this] { return messages_.size() < kMaxQueuedMessages; })) {
    }
    messages_.push_back(std::move(message));
    changed_.notify_all();
  }

  void End() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  // Waits for the next message. Nothing: there is none.
  std::optional<v1::RolloutResponse> Pop() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::hours(1), [this] { return ended_ || !messages_.empty(); })) {
    }
    return PopLocked();
  }

  // The next message, if it is there.
  std::optional<v1::RolloutResponse> TryPop() {
    const std::lock_guard lock(mutex_);
    return PopLocked();
  }

 private:
  std::optional<v1::RolloutResponse> PopLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (messages_.empty()) return std::nullopt;
    v1::RolloutResponse message = std::move(messages_.front());
    messages_.pop_front();
    changed_.notify_all();
    return message;
  }

  std::mutex mutex_;
  std::condition_variable changed_;  // a message came or went, or the end
  std::deque<v1::RolloutResponse> messages_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

// Sends one layer in pieces. Whether the stream still takes messages.
bool SendLayer(RolloutStream& stream, int32_t layer, const std::string& bytes) {
  for (size_t offset = 0; offset < bytes.size(); offset += kPieceBytes) {
    v1::RolloutRequest message;
    message.mutable_piece()->set_layer(layer);
    message.mutable_piece()->set_offset(static_cast<int64_t>(offset));
    message.mutable_piece()->set_data(bytes.data() + offset, std::min(kPieceBytes, bytes.size() - offset));
    if (!stream.Write(message)) return false;
  }
  return true;
}

}  // namespace

absl::Status SendRollout(RolloutStream& stream, grpc::ClientContext& context, const RolloutRequest& request,
                         const std::function<absl::StatusOr<std::string>(int32_t layer)>& next_layer,
                         const std::function<void(const Event&)>& on_event) {
  v1::RolloutRequest header;
  *header.mutable_header() = ToProto(request);
  MessageQueue queue;
  bool writable = stream.Write(header);
  std::thread reader([&] {
    v1::RolloutResponse message;
    while (stream.Read(&message)) {
      queue.Push(std::move(message));
      message.Clear();
    }
    queue.End();
  });
  const auto tell = [&on_event](std::optional<v1::RolloutResponse> message) {
    if (!message.has_value()) return false;
    if (const std::optional<Event> event = FromProto(*std::move(message))) on_event(*event);
    return true;
  };

  absl::Status status;
  writable = tell(queue.Pop()) && writable;  // Admitted, or the end
  for (int32_t layer = 0; writable && layer < request.header.layers; ++layer) {
    const absl::StatusOr<std::string> bytes = next_layer(layer);
    if (!bytes.ok()) {
      status = bytes.status();
      context.TryCancel();
      break;
    }
    writable = SendLayer(stream, layer, *bytes);
    while (tell(queue.TryPop())) {
    }
  }
  stream.WritesDone();
  while (tell(queue.Pop())) {
  }
  reader.join();
  return status;
}

}  // namespace attribution::client
