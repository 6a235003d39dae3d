// INVARIANT(condition): a programmer error ends the process with a message, in release builds too.
// Never for operating errors: those are Result<T>.
#pragma once

namespace trainctl {

[[noreturn]] void invariant_failed(const char *condition, const char *file, int line);

} // namespace trainctl

#define INVARIANT(condition) \
    ((condition) ? static_cast<void>(0) : ::trainctl::invariant_failed(#condition, __FILE__, __LINE__))
