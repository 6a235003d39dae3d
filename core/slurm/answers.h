// What the words of Slurm's commands mean: an accepted job, a definite no, or a silence that proves nothing. Pure.
// The rule: a submit is unknown unless it was positively accepted or positively rejected.
#pragma once

#include "base/process.h"
#include "slurm/scheduler.h"

#include <string_view>

namespace trainctl {

// Of a command that ran to its end. An id anywhere on stdout wins over any error text beside it.
SubmitAnswer submit_answer(const CommandResult &result);
// Of a command that did not: only a program that never started proves that there is no job.
SubmitAnswer submit_answer(const Error &error);

// The controller did not answer, or not now: the same question may be answered later.
bool controller_silent(std::string_view text);
// No accounting on this cluster: asking again is of no use.
bool accounting_off(std::string_view text);
// Slurm does not know the job (any more), or it is over: fine for a cancel.
bool no_such_job(std::string_view text);
bool job_already_over(std::string_view text);
// Slurm's "no" for want of a right.
bool permission_denied(std::string_view text);

// What a failed command said, for people: stderr without the command's name, else stdout, else its exit code.
std::string said(const CommandResult &result);

// The Error of a query or an order that failed: unreachable (with a hint) where the controller was silent, denied,
// not_found for jobs, refused otherwise.
Error slurm_error(const std::string &command, const CommandResult &result);

} // namespace trainctl
