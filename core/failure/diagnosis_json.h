// A diagnosis as JSON: what `trainctl diagnose --json` prints, and what is kept of it. Pure.
#pragma once

#include "base/json.h"
#include "failure/decide.h"

namespace trainctl {

Json to_json(const Diagnosis &diagnosis);
// How much of a log was read and how much of it matched; not its events.
Json to_json(const LogFindings &findings);
// All classes with what is done about them.
Json classes_json(const FailureBook &book);
// Rules and classes by which a book differs from the built-in one.
Json own_rules_json(const FailureBook &book);

} // namespace trainctl
