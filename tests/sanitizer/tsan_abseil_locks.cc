// Shows the thread sanitizer the locks of abseil, which distributions build without it.
//
// gRPC orders most of its threads by absl::Mutex; unseen, that order would be missing and almost every call
// over gRPC would be reported as a race. The definitions here come before those of the shared library, call
// them, and tell the sanitizer. They cover what gRPC uses: exclusive locks and condition variables, not
// absl::Notification.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "absl/base/options.h"
#include "absl/synchronization/mutex.h"

namespace absl {
ABSL_NAMESPACE_BEGIN
namespace {

#define ATTRIBUTION_QUOTE_VALUE(value) #value
#define ATTRIBUTION_QUOTE(macro) ATTRIBUTION_QUOTE_VALUE(macro)

// Finds the library's definition of a member of this namespace by the rest of its mangled name.
template <typename Function>
Function Next(std::string_view member) {
  constexpr std::string_view kNamespace = ATTRIBUTION_QUOTE(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  std::string symbol = "_ZN4absl" + std::to_string(kNamespace.size());
  symbol.append(kNamespace).append(member);
  void* const found = dlsym(RTLD_NEXT, symbol.c_str());
  if (found == nullptr) {
    std::fprintf(stderr, "Abseil has no %s. Adapt tests/sanitizer/tsan_abseil_locks.cc to this version.\n",
                 symbol.c_str());
    std::abort();
  }
  return reinterpret_cast<Function>(found);
}

}  // namespace

void Mutex::Lock() {
  static const auto next = Next<void (*)(Mutex*)>("5Mutex4LockEv");
  next(this);
  __tsan_acquire(this);
}

bool Mutex::TryLock() {
  static const auto next = Next<bool (*)(Mutex*)>("5Mutex7TryLockEv");
  const bool locked = next(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::Unlock() {
  static const auto next = Next<void (*)(Mutex*)>("5Mutex6UnlockEv");
  __tsan_release(this);
  next(this);
}

void CondVar::Wait(Mutex* mutex) {
  static const auto next = Next<void (*)(CondVar*, Mutex*)>("7CondVar4WaitEPNS0_5MutexE");
  __tsan_release(mutex);
  next(this, mutex);
  __tsan_acquire(mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static const auto next =
      Next<bool (*)(CondVar*, Mutex*, Duration)>("7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  __tsan_release(mutex);
  const bool timed_out = next(this, mutex, timeout);
  __tsan_acquire(mutex);
  return timed_out;
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static const auto next =
      Next<bool (*)(CondVar*, Mutex*, Time)>("7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  __tsan_release(mutex);
  const bool timed_out = next(this, mutex, deadline);
  __tsan_acquire(mutex);
  return timed_out;
}

ABSL_NAMESPACE_END
}  // namespace absl
